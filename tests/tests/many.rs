//! Several servers at once: what each did is told of each, whole, and nothing of it of another.

use std::time::{Duration, Instant};

use pgstrobe_tests::*;

/// Servers of other tests, or of this machine, may run too: each report is found by its postmaster.
fn report_of(all: &Reports, pid: u32) -> &Report {
    let found: Vec<_> = all.reports.iter().filter(|report| report.clusters[0].postmaster_pid == pid).collect();
    assert_eq!(found.len(), 1, "reports of the server {pid}");
    found[0]
}

/// Marks statements as those of one server.
fn script(mark: &str) -> String {
    format!("SELECT 1 AS {mark};\n")
}

/// Each server's statements are those of its own client and no other's, each of them once.
fn assert_own(report: &Report, mark: &str, others: &[&str], statements: u64) {
    assert_eq!(calls(report, mark), statements, "{mark}");
    assert_eq!(report.statements.count, statements, "{mark}");
    for other in others {
        assert_eq!(calls(report, other), 0, "{other} in {mark}");
    }
    assert_nothing_lost(report);
}

fn of(build: &str, settings: &[&str]) -> Result<Cluster, String> {
    let server = Build::named(build).expect("a build").provide().map_err(|error| format!("{build}: {error:#}"))?;
    Ok(cluster(server.with(&[QUIET, settings].concat())))
}

/// The profile of all knows a server once it has said so, or its postmaster is among those that it follows: after this
/// time it does.
fn found_by_now() {
    std::thread::sleep(Duration::from_secs(4));
}

#[test]
fn two_of_two_versions() {
    let one = quiet_cluster();
    let two = match of("npm-16", &[]) {
        Ok(two) => two,
        Err(reason) => skip!("{reason}"),
    };
    let profile = Profile::of(pgstrobe(), &[], &one.dir, one.log_path());
    std::thread::scope(|scope| {
        scope.spawn(|| Pgbench::new(&one, 2, 400).script(&script("of_one")).run());
        scope.spawn(|| Pgbench::new(&two, 3, 200).script(&script("of_two")).run());
    });
    let all = profile.stop_of_all();
    assert_eq!(all.schema, "pgstrobe.reports/1");
    let reports = [report_of(&all, one.pid()), report_of(&all, two.pid())];
    assert_own(reports[0], "of_one", &["of_two"], 800);
    assert_own(reports[1], "of_two", &["of_one"], 600);
    assert!(reports[1].clusters[0].version.starts_with("16."), "{:?}", reports[1].clusters);
    for (report, other) in [(reports[0], &two), (reports[1], &one)] {
        assert_eq!(report.schema, "pgstrobe.report/1");
        let strangers = report.backends.iter().filter(|backend| other.pids().contains(&backend.pid)).count();
        assert_eq!(strangers, 0, "processes of the other server");
        assert_eq!(report.host.kernel, all.host.kernel);
        // The programs ran for both, and that is said of both.
        assert_eq!(report.coverage.overhead.hits, reports[0].coverage.overhead.hits);
    }
    // One is chosen: its report alone, as ever.
    let profile = Profile::start(&two, &[]);
    Pgbench::new(&one, 1, 50).script(&script("of_one")).run();
    Pgbench::new(&two, 1, 70).script(&script("of_two")).run();
    assert_own(&profile.stop(), "of_two", &["of_one"], 70);
}

/// Two servers with one schema and one program: their statements have the same keys, and each has its text, its blocks and
/// its neighbour.
#[test]
fn the_same_statement_in_two_servers() {
    let (one, two) = (quiet_cluster(), quiet_cluster());
    for cluster in [&one, &two] {
        psql(cluster, "CREATE TABLE alike (n int)");
    }
    let profile = Profile::of(pgstrobe(), &["--all"], &one.dir, one.log_path());
    let insert = "INSERT INTO alike VALUES (1);\n";
    std::thread::scope(|scope| {
        scope.spawn(|| Pgbench::new(&one, 1, 300).script(insert).run());
        scope.spawn(|| Pgbench::new(&two, 1, 200).script(insert).run());
    });
    let all = profile.stop_of_all();
    let reports = [report_of(&all, one.pid()), report_of(&all, two.pid())];
    for (report, statements) in reports.iter().zip([300, 200]) {
        assert_own(report, "INSERT INTO alike", &[], statements);
    }
    // What are its own requests to one server are those of a neighbour to the other, in the same numbers.
    let requests = |report: &Report, own: bool| -> u64 {
        let by = report.storage.block.by.iter().filter(|by| by.owner.cluster == own && by.operation == "sync");
        by.filter(|by| own || by.owner.name == "postgres").map(|by| by.requests.requests).sum()
    };
    let syncs = reports.map(|report| (requests(report, true), requests(report, false)));
    if syncs == [(0, 0); 2] {
        skip!("the servers are on no block device");
    }
    assert!(syncs[0].0 > 0 && syncs[1].0 > 0, "{syncs:?}");
    if reports.len() == all.reports.len() {
        assert_eq!((syncs[0].1, syncs[1].1), (syncs[1].0, syncs[0].0), "{syncs:?}");
    } else {
        assert!(syncs[0].1 >= syncs[1].0 && syncs[1].1 >= syncs[0].0, "{syncs:?}");
    }
}

/// As containers of one image are: the same port, the same path, other pids inside.
#[test]
fn the_same_port_and_path_in_containers() {
    let (one, two) = match (of("debian-15", &["port = 5432"]), of("debian-17", &["port = 5432"])) {
        (Ok(one), Ok(two)) => (one, two),
        (one, two) => skip!("{}", one.err().or(two.err()).unwrap_or_default()),
    };
    let [mut one, mut two] = [one, two];
    (one.port, two.port) = (5432, 5432);
    let profile = Profile::of(pgstrobe(), &["--all"], &one.dir, one.log_path());
    std::thread::scope(|scope| {
        scope.spawn(|| Pgbench::new(&one, 2, 300).script(&script("of_one")).run());
        scope.spawn(|| Pgbench::new(&two, 2, 500).script(&script("of_two")).run());
    });
    let all = profile.stop_of_all();
    let reports = [report_of(&all, one.pid()), report_of(&all, two.pid())];
    assert_own(reports[0], "of_one", &["of_two"], 600);
    assert_own(reports[1], "of_two", &["of_one"], 1000);
    for (report, cluster) in reports.iter().zip([&one, &two]) {
        let model = &report.clusters[0];
        assert_eq!((model.port, model.data_directory.as_str()), (Some(5432), "/var/lib/postgresql/data"));
        assert!(model.namespace_pid.is_some_and(|inside| inside < 1000), "{model:?}");
        assert_eq!(model.postmaster_pid, cluster.pid());
    }
}

/// One is there all the time, one starts, one restarts, and one goes.
#[test]
fn started_restarted_and_removed() {
    let stays = quiet_cluster();
    let mut restarts = quiet_cluster();
    let mut goes = quiet_cluster();
    let profile = Profile::of(pgstrobe(), &["--all"], &stays.dir, stays.log_path());
    let begun = Instant::now();
    let run = |cluster: &Cluster, mark: &str, n: u64| {
        Pgbench::new(cluster, 2, n).script(&script(mark)).run();
    };
    run(&stays, "of_stays", 100);
    run(&restarts, "of_restarts", 150);
    run(&goes, "of_goes", 200);
    let gone = goes.pid();
    goes.stop();
    restarts.restart().expect("restart");
    let starts = match of("npm-16", &[]) {
        Ok(starts) => starts,
        Err(reason) => skip!("{reason}"),
    };
    found_by_now();
    run(&stays, "of_stays", 100);
    run(&restarts, "of_restarts", 150);
    run(&starts, "of_starts", 250);
    let all = profile.stop_of_all();
    let marks = ["of_stays", "of_restarts", "of_goes", "of_starts"];
    let pids = [stays.pid(), restarts.pid(), gone, starts.pid()];
    for ((mark, pid), statements) in marks.into_iter().zip(pids).zip([400, 600, 400, 500]) {
        let others: Vec<_> = marks.into_iter().filter(|other| *other != mark).collect();
        assert_own(report_of(&all, pid), mark, &others, statements);
    }
    let clusters = |pid| &report_of(&all, pid).clusters[0];
    assert_eq!((clusters(stays.pid()).restarts, clusters(restarts.pid()).restarts), (0, 1));
    let notes = |pid, part: &str| report_of(&all, pid).coverage.notes.iter().filter(|note| note.contains(part)).count();
    assert_eq!((notes(gone, "ended"), notes(restarts.pid(), "a new postmaster")), (1, 1));
    assert_eq!((notes(starts.pid(), "was found"), notes(stays.pid(), "was found")), (1, 0));
    let late = report_of(&all, starts.pid()).duration_ns;
    assert!(u128::from(late) < begun.elapsed().as_nanos() && late < report_of(&all, stays.pid()).duration_ns);
}

/// What is done by another server is that server's, wherever it is blamed.
#[test]
fn a_server_beside_it_is_named_by_its_port() {
    let (busy, quiet) = (quiet_cluster(), quiet_cluster());
    let profile = Profile::of(pgstrobe(), &["--all"], &busy.dir, busy.log_path());
    psql(&busy, "SELECT count(*) FROM generate_series(1, 20000000)");
    psql(&quiet, "SELECT 1");
    let all = profile.stop_of_all();
    let cpu = &report_of(&all, quiet.pid()).host.cpu;
    let named = cpu.others.iter().find(|other| other.pid == busy.pid());
    let named = named.unwrap_or_else(|| panic!("{cpu:#?}"));
    assert!(named.name.contains(&format!("port {}", busy.port)), "{named:?}");
    assert!(named.cpu_ns > report_of(&all, quiet.pid()).host.cpu.cluster_ns, "{cpu:#?}");
    assert!(report_of(&all, busy.pid()).host.cpu.cluster_ns.abs_diff(named.cpu_ns) < 100_000_000, "{cpu:#?}");
}
