use super::*;

fn cluster(pid: u32, port: u16, directory: &str) -> Cluster {
    Cluster {
        postmaster_pid: pid,
        namespace_pid: 1,
        version: Version { major: 15, minor: Some(18) },
        port: Some(port),
        socket_directory: None,
        data_directory: directory.into(),
        data_directory_id: (1, u64::from(pid)),
        system_identifier: Some(u64::from(port)),
        binary: "/usr/bin/postgres".into(),
        binary_id: (1, 2),
        start_time_ticks: 3,
        cgroup: None,
        container: None,
    }
}

fn found(clusters: Vec<Cluster>) -> Discovery {
    Discovery { clusters, looked_at: 123, skipped: vec!["process 9: permission denied".into()] }
}

#[test]
fn versions() {
    let parse = |text| Version::parse(text).map(|version| (version.major, version.minor));
    assert_eq!(parse("15.18"), Some((15, Some(18))));
    assert_eq!(parse("15"), Some((15, None)));
    assert_eq!(parse("9.6.24"), Some((9, Some(6))));
    assert_eq!(parse("18beta1"), Some((18, None)));
    assert_eq!(parse("19devel"), Some((19, None)));
    for bad in ["", "devel", ".5", "99999999999"] {
        assert_eq!(parse(bad), None, "{bad}");
    }
    assert_eq!(Version::parse("15.18").map(|version| version.to_string()).as_deref(), Some("15.18"));
    assert_eq!(Version::parse("18rc1").map(|version| version.to_string()).as_deref(), Some("18"));
}

#[test]
fn lock_files() {
    let whole = "3578\n/srv/pg\n1795224291\n5599\n/tmp/sock\nlocalhost\n 10010683         4\nready   \n";
    let lock = LockFile::parse(whole).unwrap();
    assert_eq!((lock.pid, lock.port), (3578, Some(5599)));
    assert_eq!(lock.data_directory, "/srv/pg");
    assert_eq!(lock.socket_directory.as_deref(), Some(Path::new("/tmp/sock")));
    let starting = LockFile::parse("3578\n/srv/pg\n1795224291\n").unwrap();
    assert_eq!((starting.port, starting.socket_directory), (None, None));
    assert_eq!(LockFile::parse("-4\n/srv/pg\n1\n0\n\n").unwrap().pid, -4);
    assert_eq!(LockFile::parse(""), None);
    assert_eq!(LockFile::parse("x\n/srv\n"), None);
}

#[test]
fn the_mark_of_a_replaced_executable_is_no_part_of_its_path() {
    assert_eq!(without_deleted(Path::new("/usr/bin/postgres (deleted)")), Path::new("/usr/bin/postgres"));
    assert_eq!(without_deleted(Path::new("/usr/bin/postgres")), Path::new("/usr/bin/postgres"));
}

#[test]
fn choosing() {
    let two = found(vec![cluster(4_000_001, 5432, "/srv/a"), cluster(4_000_002, 5433, "/srv/b")]);
    let pid = |chosen: Result<Cluster, ChooseError>| chosen.unwrap().postmaster_pid;
    let by_pid = |pid| Choice { pid: Some(pid), ..Choice::default() };
    let by_port = |port| Choice { port: Some(port), ..Choice::default() };
    assert_eq!(pid(choose(&two, &by_pid(4_000_002))), 4_000_002);
    assert_eq!(pid(choose(&two, &by_port(5432))), 4_000_001);
    let by_directory = Choice { data_directory: Some("/srv/b/".into()), ..Choice::default() };
    assert_eq!(pid(choose(&two, &by_directory)), 4_000_002);
    assert_eq!(pid(choose(&found(vec![cluster(5, 1, "/srv")]), &Choice::default())), 5);
    // A process below the postmaster.
    let own = found(vec![cluster(std::os::unix::process::parent_id(), 5432, "/srv/a")]);
    assert_eq!(pid(choose(&own, &by_pid(std::process::id()))), std::os::unix::process::parent_id());

    let all = choose_all(&two, &Choice::default()).unwrap();
    assert_eq!(all.iter().map(|one| one.postmaster_pid).collect::<Vec<_>>(), [4_000_001, 4_000_002]);
    let several = choose(&two, &Choice::default()).unwrap_err().to_string();
    assert!(several.contains("--pid 4000001  PostgreSQL 15.18  port 5432  /srv/a"), "{several}");
    assert!(several.contains("--pid 4000002"), "{several}");
    let none = choose(&two, &Choice { pid: Some(4_000_001), ..by_port(5433) }).unwrap_err().to_string();
    assert!(none.contains("process 4000001, port 5433") && none.contains("/srv/a"), "{none}");
    let none = choose(&found(Vec::new()), &Choice::default()).unwrap_err().to_string();
    assert!(none.starts_with("no running PostgreSQL server found: looked at 123 processes for"), "{none}");
    assert!(none.contains("process 9: permission denied"), "{none}");
}

#[test]
fn choosing_a_container() {
    let ids = ["ab12".repeat(16), "ab34".repeat(16)];
    let contained = |pid, id: &str| Cluster { container: Some(id.into()), ..cluster(pid, 5432, "/var/lib/pg") };
    let three = found(vec![contained(1, &ids[0]), contained(2, &ids[1]), cluster(3, 5432, "/var/lib/pg")]);
    let by = |id: &str| choose(&three, &Choice { container: Some(id.into()), ..Choice::default() });
    assert_eq!(by("ab34").map(|one| one.postmaster_pid).unwrap(), 2);
    assert_eq!(by(&ids[0]).map(|one| one.postmaster_pid).unwrap(), 1);
    assert!(matches!(by("ab"), Err(ChooseError::Several(lines)) if lines.len() == 2));
    let none = by("ff").unwrap_err().to_string();
    assert!(none.contains("container ff") && none.contains("container ab12ab12ab12"), "{none}");
}

#[test]
fn the_same_cluster_after_a_restart() {
    let gone = cluster(10, 5432, "/srv/a");
    let other = Cluster { start_time_ticks: 5_010, ..cluster(30, 5433, "/srv/b") };
    let is = |found: &Cluster| kinship(&gone, 5_000, found);
    let restarted = Cluster { postmaster_pid: 20, start_time_ticks: 4_990, ..gone.clone() };
    assert_eq!(is(&restarted), Kinship::Same);
    assert_eq!(is(&other), Kinship::None);
    // A container started anew: other device, all else the same.
    let moved = Cluster { postmaster_pid: 40, data_directory_id: (9, 9), ..restarted.clone() };
    assert_eq!(is(&moved), Kinship::Same);
    // Another container of the same image, which has run all along.
    assert_eq!(is(&Cluster { start_time_ticks: 4_000, ..moved.clone() }), Kinship::None);
    // One that was made anew in its place.
    assert_eq!(is(&Cluster { system_identifier: Some(7), ..moved }), Kinship::InPlace);
    let upgraded = Cluster { port: gone.port, ..other };
    assert_eq!(is(&upgraded), Kinship::InPlace);
    assert_eq!(is(&Cluster { start_time_ticks: 4_000, ..upgraded }), Kinship::None);
}

#[test]
fn an_executable_is_read_once() {
    let pid = std::process::id();
    let mut versions = Versions::default();
    versions.of(pid);
    assert_eq!(versions.0.len(), 1, "whatever was found");
    versions.0.values_mut().for_each(|version| *version = Version::parse("13.3"));
    assert_eq!(versions.of(pid), Version::parse("13.3"));
    assert_eq!(postmaster(pid), None);
    let own = Process { pid, start_time_ticks: Stat::of(pid).unwrap().start_time };
    assert!(look_at(own, &mut versions).unwrap_err().contains("no server's executable"));
    assert!(own.is_alive() && !postmasters().contains(&own));
}

#[test]
fn this_process_is_alive_and_is_no_server() {
    let pid = std::process::id();
    let stat = Stat::of(pid).unwrap();
    let own = Cluster { postmaster_pid: pid, start_time_ticks: stat.start_time, ..cluster(pid, 1, "/srv") };
    assert!(is_alive(&own));
    assert!(!is_alive(&Cluster { start_time_ticks: stat.start_time + 1, ..own.clone() }));
    assert!(!is_alive(&cluster(u32::MAX, 1, "/srv")));
    assert!(discover().clusters.iter().all(|cluster| cluster.postmaster_pid != pid));
    assert!(discover().looked_at > 0);

    let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    assert!(children(&own).contains(&child.id()));
    let inner = proc::namespace_pid(child.id()).unwrap();
    assert_eq!(host_pid(&own, inner), Some(child.id()));
    assert_eq!(host_pid(&own, u32::MAX), None);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!children(&own).contains(&child.id()));
}
