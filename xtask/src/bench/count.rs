//! `cargo xtask bench count`: what a transaction costs the whole machine, in instructions. Neither the machine's speed nor its
//! neighbours are in it, so that a difference of a tenth of a percent is one.

use anyhow::Result;
use clap::Args;
use serde_json::json;

use crate::vm::{self, Counted};

#[derive(Args)]
pub struct CountRuns {
    /// Kernels: 5.10, 6.1, 6.12, sid
    #[arg(default_value = "6.12")]
    kernels: Vec<String>,
    /// As one JSON object: kernel, workload, attached, instructions
    #[arg(long)]
    json: bool,
}

/// What may be attached, in the order of columns.
const ATTACHED: [&str; 4] = ["off", "empty", "sample", "standard"];

pub fn run(runs: &CountRuns) -> Result<()> {
    let mut all = serde_json::Map::new();
    for kernel in &runs.kernels {
        let counted = vm::count(kernel)?;
        if runs.json {
            all.insert(kernel.clone(), json!(counted));
        } else {
            print(kernel, &counted);
        }
    }
    if runs.json {
        println!("{}", serde_json::Value::Object(all));
    }
    Ok(())
}

fn print(kernel: &str, counted: &Counted) {
    println!("\nLinux {kernel}: instructions of the whole guest a transaction, one client (QEMU, icount)");
    println!("{:<16} {:>10} {:>18} {:>18} {:>18}", "workload", "off", "empty programs", "sample", "standard");
    for (workload, by) in counted {
        let Some(off) = by.get(ATTACHED[0]) else { continue };
        let more = |attached: &str| match by.get(attached) {
            Some(n) => {
                let more = *n as i64 - *off as i64;
                format!("{more:+} ({:.3})", *off as f64 / *n as f64)
            }
            None => "-".into(),
        };
        let [_, empty, sample, standard] = ATTACHED.map(more);
        println!("{workload:<16} {off:>10} {empty:>18} {sample:>18} {standard:>18}");
    }
}
