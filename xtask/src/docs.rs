//! `cargo xtask docs`: blocks of the documents that are generated from the code. What they hold is in `profiler/src/docs.rs`,
//! whose test compares them; here it is told to write. The list of messages is `house/messages.rs`.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::{demo::cargo, house};

#[derive(Args)]
pub struct DocsArgs {
    /// Compare, and fail when a document says something else
    #[arg(long)]
    check: bool,
}

pub fn run(args: &DocsArgs) -> Result<()> {
    let mut command = cargo();
    command.args(["test", "--quiet", "--package", "pgstrobe", "--lib", "docs::"]).stdin(Stdio::null());
    if !args.check {
        house::write_messages()?;
        command.env("PGSTROBE_WRITE_DOCS", "1");
    }
    ensure!(command.status().context("cannot run cargo")?.success(), "the documents are not what the code says");
    Ok(())
}
