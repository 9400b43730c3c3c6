//! Instructions of a transaction, with and without pgstrobe: where a nanosecond is an instruction (`cargo xtask bench count`).

use std::time::Duration;

use pgstrobe_tests::*;

/// Workload, pgbench's arguments, transactions of a run.
const WORKLOADS: [(&str, &[&str], u32); 3] = [
    ("select-only", &["-S"], 3_000),
    ("select-prepared", &["-S", "-M", "prepared"], 3_000),
    ("tpcb", &["-b", "tpcb-like"], 300),
];

/// What is attached, and pgstrobe's arguments for it.
const ATTACHED: [(&str, Option<&[&str]>); 4] = [
    ("off", None),
    ("empty", Some(&["--empty-programs"])),
    ("sample", Some(&["--level", "sample"])),
    ("standard", Some(&["--level", "standard"])),
];

/// Nanoseconds of a transaction, by pgbench's own account without the time to connect.
fn transaction(cluster: &Cluster, args: &[&str], transactions: u32) -> u64 {
    let mut pgbench = cluster.client("pgbench");
    pgbench.args(["-n", "-c", "1", "-j", "1", "--random-seed=7", "-t", &transactions.to_string()]).args(args);
    let output = pgbench.output().expect("pgbench runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let tps = text.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse::<f64>().ok());
    (1e9 / tps.unwrap_or_else(|| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)))) as u64
}

#[test]
#[ignore = "it counts where time is made of instructions: cargo xtask bench count"]
fn instructions_of_a_transaction() {
    let cluster = quiet_with(&[
        "autovacuum = off",
        "bgwriter_lru_maxpages = 0",
        "checkpoint_timeout = 1h",
        "shared_buffers = 64MB",
    ]);
    cluster.pgbench_init(1).expect("pgbench -i");
    for (workload, args, transactions) in WORKLOADS {
        for (attached, flags) in ATTACHED {
            let profile = flags.map(|flags| Profile::start(&cluster, flags));
            // Names and catalogs are read at first, and the first run after a change warms up.
            std::thread::sleep(Duration::from_secs(2));
            transaction(&cluster, args, transactions / 4);
            note("instructions", (workload, attached, transaction(&cluster, args, transactions)));
            drop(profile.map(Profile::stop));
        }
    }
}
