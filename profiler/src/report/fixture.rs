//! Sample reports for tests and for looking at the formats: a busy server with troubles, and an idle one.

mod aio;
mod block;
mod blocking;
pub mod edge;
mod files;
mod ledger;
pub mod memory;
mod wal;
mod writeback;

use super::model::{self, *};
use crate::hist::Histogram;
use crate::vocabulary::{Role, Term, Word};
use blocking::{blocking, slowest};
use files::files;
use ledger::{commit_ledger, startup, tail, with_p99};
pub use ledger::{ledger, part};

/// The variant of this name, which must be one: samples have nothing that no report has.
pub fn word<T: Term>(name: &str) -> Word<T> {
    Word::Known(T::named(name).unwrap_or_else(|| panic!("no list has the name {name}")))
}

/// `count` durations in nanoseconds around `median`, spread like real latencies (a factor of e to the power of
/// `sigma`).
pub fn latency(count: u64, median: f64, sigma: f64) -> Hist {
    histogram(count, median, sigma).summary()
}

fn histogram(count: u64, median: f64, sigma: f64) -> Histogram {
    let mut hist = Histogram::new();
    for i in 0..count {
        // The logistic distribution's quantiles: close enough to normal, and no generator is needed.
        let p = (i as f64 + 0.5) / count as f64;
        hist.record((median * (sigma * 0.55 * (p / (1.0 - p)).ln()).exp()) as u64);
    }
    hist
}

fn query(id: &str, text: &str, calls: u64, median: f64, ledger: impl FnOnce(u64) -> Ledger) -> Query {
    let histogram = histogram(calls, median, 0.7);
    Query {
        query_id: id.into(),
        query_id_source: "server".into(),
        query: text.into(),
        cut: false,
        database: Some("shop".into()),
        user: Some("app".into()),
        calls,
        sent_bytes: calls * 90,
        ledger: ledger(histogram.sum()),
        latency: histogram.summary(),
        errors: 0,
        ..Query::default()
    }
}

fn coverage(hits: u64, run_ns: u64, count: u64) -> Coverage {
    let probe = |name: &str, hook: &str, attached, hits, reason: Option<&str>| ProbeCoverage {
        name: name.into(),
        level: if name == "ledger" { "sample" } else { "standard" }.into(),
        hooks: vec![hook.into()],
        attached,
        hits,
        run_ns: hits * 310,
        measured: true,
        reason: reason.map(String::from),
    };
    Coverage {
        lost: [
            "ring_buffer_full",
            "backends_map_full",
            "memory_read_failed",
            "text_ring_full",
            "file_name_unread",
            "classes_map_full",
            "other_records_ring_full",
        ]
        .map(|reason| (reason.to_string(), 0))
        .into(),
        probes: vec![
            probe("statement", "tp_btf/sock_recv_length", true, hits / 3, None),
            probe("ledger", "tp_btf/sched_switch", true, hits / 2, None),
            probe("fsync", "tracepoint/syscalls/sys_enter_fdatasync", true, count, None),
            probe("memory", "tp_btf/mm_vmscan_direct_reclaim_begin", true, 0, None),
            probe(
                "writeback",
                "tp_btf/writeback_start",
                false,
                0,
                Some("this kernel has no tracepoint writeback_start: what the flusher wrote is missing"),
            ),
        ],
        overhead: Overhead {
            hits,
            run_ns,
            run_ns_per_statement: run_ns.checked_div(count).unwrap_or(0) as f64,
            source: "kernel".into(),
            own_cpu_ns: 84_000_000,
            own_rss_bytes: 23 << 20,
            map_bytes: 61 << 20,
            unmeasured_hits: 0,
        },
        notes: vec!["track_activities is off in database \"audit\": its statements have no text".into()],
    }
}

fn host_cpu() -> HostCpu {
    let other =
        |pid, name: &str, cgroup: &str, cpu_ns| OtherProcess { pid, name: name.into(), cgroup: cgroup.into(), cpu_ns };
    HostCpu {
        total_ns: 80_000_000_000,
        idle_ns: 66_000_000_000,
        steal_ns: 400_000_000,
        cluster_ns: 9_400_000_000,
        others: vec![
            other(3011, "pgbench", "user.slice", 2_100_000_000),
            other(640, "prometheus", "prometheus.service", 310_000_000),
        ],
    }
}

fn frame() -> Report {
    Report {
        schema: SCHEMA.into(),
        version: env!("CARGO_PKG_VERSION").into(),
        started_at: "2026-03-01T03:12:45Z".into(),
        duration_ns: 10_000_000_000,
        host: Host { kernel: "6.18.0-amd64".into(), cpus: 8, virtualized: true, btf: true, ..Host::default() },
        clusters: vec![Cluster {
            postmaster_pid: 812,
            namespace_pid: None,
            version: "18.1".into(),
            port: Some(5432),
            data_directory: "/var/lib/postgresql/18/main".into(),
            binary: "/usr/lib/postgresql/18/bin/postgres".into(),
            container: None,
            boundary: "socket".into(),
            restarts: 0,
        }],
        ..Report::default()
    }
}

/// A server under load, waiting for its WAL, with one stuck statement. Its findings are those of the rules.
pub fn busy() -> Report {
    let mut report = frame();
    let mut queries = vec![
        query(
            "-4725308364311418612",
            "UPDATE pgbench_accounts SET abalance = abalance + $1 WHERE aid = $2",
            9_000,
            1_900_000.0,
            |sum| commit_ledger(sum / 1000, 9_000),
        ),
        query("8112553443234423", "COMMIT", 4_500, 1_400_000.0, |sum| commit_ledger(sum / 1000, 4_500)),
        query(
            "2235532144555",
            "SELECT o.id, o.placed_at, c.name, sum(l.price * l.quantity) FROM orders o JOIN customers c ON c.id = \
             o.customer_id JOIN \
             order_lines l ON l.order_id = o.id WHERE o.placed_at > now() - $1 AND c.region = $2 GROUP BY $3, $4, $5 \
                 ORDER BY $6 DESC LIMIT $7",
            24,
            95_000_000.0,
            |sum| {
                ledger(vec![
                    part("cpu", "", None, sum / 2, 90),
                    part("blocked", "IO:DataFileRead", Some("block_read"), sum / 2, 800),
                ])
            },
        ),
        query("77443211234", "SELECT abalance FROM pgbench_accounts WHERE aid = $1", 9_000, 41_000.0, |sum| {
            ledger(vec![part("cpu", "", None, sum, 9_000)])
        }),
        query("991244", "<unparsable>", 3, 1_000_000.0, |sum| ledger(vec![part("cpu", "", None, sum, 3)])),
    ];
    // The joins are parallel, and their hashes do not fit into work_mem.
    let joins = &mut queries[2];
    joins.worker_processes = 48;
    joins.workers = ledger(vec![
        part("cpu", "", None, joins.ledger.wall_ns * 3 / 4, 300),
        part("blocked", "IO:DataFileRead", Some("block_read"), joins.ledger.wall_ns * 2 / 3, 1_700),
    ]);
    joins.cpu_samples = [("".into(), 190), ("IO:BufFileWrite".into(), 61), ("IO:BufFileRead".into(), 33)].into();
    let count = queries.iter().map(|q| q.calls).sum();
    let wall: u64 = queries.iter().map(|q| q.ledger.wall_ns).sum();
    let mut all = Histogram::new();
    queries.iter().for_each(|q| all.merge(&Histogram::from_hist(&q.latency).expect("written above")));
    report.statements = Statements {
        count,
        errors: 12,
        batches: 0,
        pipelined: 0,
        terminated: 0,
        sent_bytes: 2_400_000,
        latency: all.summary(),
        ledger: with_p99(commit_ledger(wall / 1000, count), count),
        faults: Faults { minor: 48_120, major: 0 },
    };
    report.tail = Some(tail(wall, count));
    report.slowest = slowest();
    report.blocking = blocking();
    report.host.cpu = host_cpu();
    let backend = |pid, role: &str, statements, ledger: Ledger| Backend {
        pid,
        role: word(role),
        database: (role == "client backend").then(|| "shop".into()),
        user: (role == "client backend").then(|| "app".into()),
        application_name: (role == "client backend").then(|| "pgbench".into()),
        statements,
        latency: latency(statements, 1_500_000.0, 0.7),
        ledger,
        fsync: BackendFsync { count: statements / 2, total_ns: 2_000_000_000, max_ns: 9_000_000 },
        alive: true,
        ..Backend::default()
    };
    let forgotten_idle = IdleInTransaction { count: 1, total_ns: 10_000_000_000, max_ns: 10_000_000_000 };
    report.backends = vec![
        backend(2201, "client backend", 11_000, commit_ledger(wall / 2000, 11_000)),
        backend(2202, "client backend", 11_527, commit_ledger(wall / 2000, 11_527)),
        Backend {
            application_name: Some("billing".into()),
            startup_ns: Some(3_400_000),
            startup: startup(3_400_000),
            outside: ledger(vec![part("idle_in_transaction", "Client:ClientRead", Some("poll"), 10_000_000_000, 1)]),
            idle_in_transaction: forgotten_idle.clone(),
            fsync: BackendFsync::default(),
            ..backend(2390, "client backend", 0, Ledger::default())
        },
        Backend {
            outside: ledger(vec![
                part("blocked", "Timeout:CheckpointWriteDelay", Some("poll"), 9_100_000_000, 90),
                part("blocked", "IO:DataFileSync", Some("fsync"), 700_000_000, 12),
                part("cpu", "", None, 200_000_000, 100),
            ]),
            ..backend(820, "checkpointer", 0, Ledger::default())
        },
    ];
    report.roles = vec![
        model::Role {
            role: Role::ClientBackend.into(),
            processes: 14,
            statements: count,
            latency: report.statements.latency.clone(),
            startup: latency(12, 2_600_000.0, 0.4),
            startup_ledger: startup(12 * 2_700_000),
            idle_in_transaction: forgotten_idle,
            cpu_samples: [("".into(), 880), ("IO:BufFileWrite".into(), 61), ("IO:BufFileRead".into(), 33)].into(),
            ledger: report.statements.ledger.clone(),
            faults: Faults { minor: 52_480, major: 0 },
            outside: ledger(vec![part("idle", "Client:ClientRead", Some("poll"), 4_000_000_000, 22_000)]),
        },
        model::Role {
            role: Role::Checkpointer.into(),
            processes: 1,
            outside: report.backends[3].outside.clone(),
            ..model::Role::default()
        },
    ];
    report.queries = queries;
    report.unfinished = vec![
        Unfinished {
            pid: 2203,
            database: Some("shop".into()),
            user: Some("app".into()),
            query: Some("SELECT o.id, o.placed_at FROM orders o WHERE o.customer_id = $1".into()),
            elapsed_ns: 8_201_000_000,
            began_before: false,
            ledger: ledger(vec![
                part("blocked", "Lock:relation", Some("semaphore"), 8_200_000_000, 1),
                part("cpu", "", None, 1_000_000, 2),
            ]),
        },
        Unfinished {
            pid: 2377,
            database: Some("shop".into()),
            user: Some("admin".into()),
            query: Some("ALTER TABLE orders ADD COLUMN note text".into()),
            elapsed_ns: 10_000_000_000,
            began_before: true,
            ledger: ledger(vec![
                part("blocked", "Lock:relation", Some("semaphore"), 9_999_000_000, 1),
                part("cpu", "", None, 1_000_000, 2),
            ]),
        },
    ];
    report.unfinished.reverse();
    let by = |pid, role: &str, syscall: &str, kind: &str, file: &str, count, median| FsyncBy {
        role: word(role),
        pid,
        syscall: word(syscall),
        file_kind: word(kind),
        file: file.into(),
        relation: (kind == "relation").then(|| "public.pgbench_accounts".into()),
        count,
        errors: 0,
        latency: latency(count, median, 0.5),
    };
    report.storage.block = block::block();
    report.fsync = Fsync {
        latency: latency(11_290, 980_000.0, 0.5),
        errors: 0,
        by: vec![
            by(2201, "client backend", "fdatasync", "wal", "pg_wal/000000010000000000000042", 5_600, 970_000.0),
            by(2202, "client backend", "fdatasync", "wal", "pg_wal/000000010000000000000042", 5_650, 990_000.0),
            by(820, "checkpointer", "fsync", "relation", "base/16384/16397.1", 12, 31_000_000.0),
            by(820, "checkpointer", "fsync", "slru", "pg_xact/0000", 3, 1_200_000.0),
            by(823, "walwriter", "fdatasync", "wal", "pg_wal/000000010000000000000042", 25, 1_000_000.0),
        ],
    };
    report.storage.files = files();
    report.queries[0].io.wal = ClassIo { writes: 9_000, write_bytes: 74_000_000, ..ClassIo::default() };
    let joins = &mut report.queries[2].io;
    joins.relation =
        ClassIo { reads: 31_000, read_bytes: 254_000_000, device_read_bytes: 180_000_000, ..ClassIo::default() };
    joins.temp = ClassIo {
        reads: 4_100,
        read_bytes: 33_600_000,
        writes: 4_100,
        write_bytes: 33_600_000,
        extend_bytes: 33_600_000,
        ..ClassIo::default()
    };
    report.storage.wal = wal::sample();
    report.storage.aio = Some(aio::sample());
    report.storage.writeback = writeback::busy();
    report.memory = memory::busy();
    report.coverage = coverage(280_000, 51_000_000, count);
    report.findings = crate::findings::evaluate(&report);
    report
}

/// A server on which nothing ran.
pub fn idle() -> Report {
    let mut report = frame();
    report.coverage = coverage(40, 12_000, 0);
    report.coverage.notes.clear();
    report.roles = vec![model::Role { role: Role::Checkpointer.into(), processes: 1, ..model::Role::default() }];
    report.findings = crate::findings::evaluate(&report);
    report
}

#[cfg(test)]
mod tests {
    use pgstrobe_common::lost::Lost;

    use super::*;
    use crate::probes::PROBES;

    /// States, causes, roles and the like are looked up where a sample is made ([`word`]).
    #[test]
    fn samples_name_only_what_there_is() {
        let coverage = busy().coverage;
        for reason in coverage.lost.keys() {
            assert!(Lost::ALL.iter().any(|lost| lost.name() == reason), "nothing is lost as {reason}");
        }
        for shown in &coverage.probes {
            let probe = PROBES.iter().find(|probe| probe.name == shown.name);
            let probe = probe.unwrap_or_else(|| panic!("no probe is called {}", shown.name));
            assert_eq!(shown.level, probe.level.name(), "{}", probe.name);
            let known: Vec<String> =
                probe.ways.iter().flat_map(|way| way.hooks).map(|hook| hook.point.describe()).collect();
            assert!(shown.hooks.iter().all(|hook| known.contains(hook)), "{:?}, of {known:?}", shown.hooks);
        }
    }
}
