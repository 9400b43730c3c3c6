//! Loads: pgbench with its log, psql, and clients that are slow on purpose.

use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdout, Command, Stdio};
use std::time::Duration;

use xtask::children::Owned;
use xtask::cluster::Cluster;

use crate::processes::pids_by_own;

/// One row by its key; unlike the built-in script it makes pgbench ask the server nothing beforehand.
pub const SELECT: &str = "\\set aid random(1, 100000)\nSELECT abalance FROM pgbench_accounts WHERE aid = :aid;\n";

/// A run of pgbench with a script of ours, so that every exchange on the wire is known.
pub struct Pgbench<'a> {
    cluster: &'a Cluster,
    script: String,
    args: Vec<String>,
    clients: u64,
    transactions: u64,
    log: bool,
    tcp: bool,
    name: String,
}

pub struct PgbenchRun {
    /// As pgbench counted them.
    pub transactions: u64,
    pub latencies: Latencies,
    pub output: String,
}

impl<'a> Pgbench<'a> {
    pub fn new(cluster: &'a Cluster, clients: u64, transactions_each: u64) -> Self {
        let (script, args) = (SELECT.to_string(), vec![]);
        let name = "pgbench".to_string();
        Self { cluster, script, args, clients, transactions: transactions_each, log: false, tcp: false, name }
    }

    pub fn script(mut self, script: &str) -> Self {
        self.script = script.to_string();
        self
    }

    /// Further arguments, such as `-M prepared`.
    pub fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|arg| arg.to_string()));
        self
    }

    /// Keep pgbench's log of every transaction.
    pub fn log(mut self) -> Self {
        self.log = true;
        self
    }

    pub fn tcp(mut self) -> Self {
        self.tcp = true;
        self
    }

    /// Another application_name.
    pub fn name(mut self, name: &str) -> Self {
        self.name = name.to_string();
        self
    }

    pub fn run(self) -> PgbenchRun {
        let dir = tempfile::tempdir_in(&self.cluster.dir).expect("a directory for pgbench");
        let script = dir.path().join("script.sql");
        std::fs::write(&script, &self.script).expect("pgbench's script");
        let mut pgbench = self.cluster.client("pgbench");
        pgbench.current_dir(dir.path()).args(["-n", "-f"]).arg(&script);
        pgbench.args(["-c", &self.clients.to_string(), "-t", &self.transactions.to_string()]).args(&self.args);
        if self.log {
            pgbench.args(["-l", "--log-prefix=transactions"]);
        }
        if self.tcp {
            pgbench.env("PGHOST", "127.0.0.1");
        }
        pgbench.env("PGAPPNAME", &self.name);
        let output = pgbench.output().expect("pgbench runs");
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!(output.status.success(), "pgbench: {}\n{text}\n{}", output.status, self.cluster.log_tail(20));
        let done = text.lines().find_map(|line| line.strip_prefix("number of transactions actually processed: "));
        let transactions = done.and_then(|rest| rest.split('/').next()?.trim().parse().ok()).expect("pgbench's count");
        PgbenchRun { transactions, latencies: Latencies::read(dir.path()), output: text }
    }
}

/// Latencies as the client saw them, in nanoseconds, sorted.
#[derive(Default)]
pub struct Latencies(Vec<u64>);

impl Latencies {
    pub fn of(mut values: Vec<u64>) -> Self {
        values.sort_unstable();
        Self(values)
    }

    /// The third column of pgbench's log is the latency in microseconds.
    fn read(dir: &std::path::Path) -> Self {
        let files = std::fs::read_dir(dir).expect("pgbench's directory").flatten();
        let logs = files.filter(|file| file.file_name().to_string_lossy().starts_with("transactions"));
        let text: String = logs.map(|file| std::fs::read_to_string(file.path()).expect("pgbench's log")).collect();
        let micros = text.lines().filter_map(|line| line.split(' ').nth(2)?.parse::<u64>().ok());
        Self::of(micros.map(|micros| micros * 1000).collect())
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn sum(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Those below `at`, and the others.
    pub fn split(mut self, at: u64) -> (Self, Self) {
        let above = self.0.split_off(self.0.partition_point(|value| *value < at));
        (self, Self(above))
    }

    /// The smallest value that is not below the share `at` of all.
    pub fn quantile(&self, at: f64) -> u64 {
        let rank = (at * self.0.len() as f64).ceil() as usize;
        self.0[rank.clamp(1, self.0.len()) - 1]
    }
}

/// One command string, one exchange; its rows.
pub fn psql(cluster: &Cluster, sql: &str) -> String {
    cluster.psql(sql).unwrap_or_else(|error| panic!("{error:#}\n{}", cluster.log_tail(20)))
}

/// A command string that must fail.
pub fn psql_fails(cluster: &Cluster, sql: &str) {
    assert!(cluster.psql(sql).is_err(), "should have failed: {sql}");
}

pub fn client_over_tcp(cluster: &Cluster, program: &str) -> Command {
    let mut command = cluster.client(program);
    command.env("PGHOST", "127.0.0.1");
    command
}

/// A connection that stays open: psql, given one command at a time.
pub struct Client {
    child: Owned,
    answers: BufReader<ChildStdout>,
}

impl Client {
    pub fn connect(cluster: &Cluster, name: &str) -> Self {
        let mut psql = cluster.client("psql");
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]).env("PGAPPNAME", name);
        let mut child = Owned::spawn(psql.stdin(Stdio::piped()).stdout(Stdio::piped()), libc::SIGKILL).expect("psql");
        let answers = BufReader::new(child.child().stdout.take().expect("stdout"));
        let mut client = Self { child, answers };
        client.ask("SELECT 1");
        client
    }

    /// The pid of its backend, on this machine.
    pub fn backend(&mut self, cluster: &Cluster) -> u32 {
        let own: u32 = self.ask("SELECT pg_backend_pid()").parse().expect("a pid");
        pids_by_own(cluster)[&own]
    }

    /// Runs a command and waits for its end; the first line of its rows.
    pub fn ask(&mut self, sql: &str) -> String {
        self.send(sql);
        self.answer().unwrap_or_else(|| panic!("psql has ended: {sql}"))
    }

    /// Sends a command that may have to wait.
    pub fn send(&mut self, sql: &str) {
        let stdin = self.child.child().stdin.as_mut().expect("stdin");
        stdin.write_all(format!("{sql};\n\\echo done\n").as_bytes()).expect("psql reads");
    }

    /// Waits for the end of what was sent; the first line of its rows, or nothing when it failed.
    pub fn answer(&mut self) -> Option<String> {
        let mut first = String::new();
        loop {
            let mut line = String::new();
            if self.answers.read_line(&mut line).expect("psql answers") == 0 {
                return None;
            }
            match line.trim_end() {
                "done" => return Some(first),
                line if first.is_empty() => first = line.to_string(),
                _ => {}
            }
        }
    }
}

/// COPY FROM STDIN by a client that stops in the middle.
pub fn copy_in_slowly(cluster: &Cluster, table: &str, rows: u64, pause: Duration) {
    let mut psql = cluster.client("psql");
    psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", &format!("COPY {table} FROM STDIN")]);
    let mut child = psql.stdin(Stdio::piped()).spawn().expect("psql starts");
    let mut stdin = child.stdin.take().expect("stdin");
    let half = |from: u64, to: u64| (from..to).map(|row| format!("{row}\n")).collect::<String>();
    stdin.write_all(half(0, rows / 2).as_bytes()).expect("the first half");
    stdin.flush().expect("flush");
    std::thread::sleep(pause);
    stdin.write_all(half(rows / 2, rows).as_bytes()).expect("the second half");
    drop(stdin);
    assert!(child.wait().expect("psql ends").success(), "COPY failed\n{}", cluster.log_tail(20));
}
