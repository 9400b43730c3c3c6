//! What clients call things, and what they send, must not reach a terminal as it is: names and texts with control
//! characters, escapes, bytes that are no UTF-8, and statements of a megabyte.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use pgstrobe_tests::*;

/// Sets the title of a terminal, clears it, turns text around, rings the bell.
const EVIL: &str = "x\x1b]0;pwned\x07\x1b[2J\u{9b}31m\u{202e}\r\ny";
/// As a name of Postgres: no NUL, quotes doubled, at most 63 bytes.
const EVIL_NAME: &str = "d\x1b[2J\x1b]0;pwned\x07\r\n'\u{202e}";

/// Nothing in a text report but printable characters and ends of lines.
fn assert_harmless(what: &str, text: &str) {
    let raw = text.chars().find(|c| (c.is_control() && *c != '\n') || ('\u{202a}'..='\u{202e}').contains(c));
    let at = raw.and_then(|raw| text.find(raw)).unwrap_or(0);
    let near: String = text[at..].chars().take(80).collect();
    assert_eq!(raw, None, "{what}: {near:?}");
}

/// Profiles what `load` does, and looks at every output.
fn profile(cluster: &Cluster, args: &[&str], load: impl Fn()) -> Report {
    let profile = Profile::start(cluster, args);
    load();
    let (said, text) = (profile.stderr(), cluster.dir.join("report.txt"));
    let (report, json) = profile.stop_raw();
    assert_harmless("standard error", &said);
    assert_harmless("text", &std::fs::read_to_string(text).expect("text report"));
    assert_harmless("JSON", &json);
    report
}

/// A connection with parameters that no client program would send.
fn raw_connection(cluster: &Cluster, database: &[u8], application: &[u8], query: &[u8]) -> Vec<u8> {
    let mut stream = UnixStream::connect(cluster.dir.join(format!(".s.PGSQL.{}", cluster.port))).expect("the socket");
    let mut body = 196_608u32.to_be_bytes().to_vec();
    for part in [&b"user"[..], b"postgres", b"database", database, b"application_name", application, b""] {
        body.extend([part, b"\0"].concat());
    }
    let framed = |body: &[u8]| [&(body.len() as u32 + 4).to_be_bytes()[..], body].concat();
    stream.write_all(&framed(&body)).expect("start-up");
    // A query that comes with the start-up packet is no statement to pgstrobe: it has no receive of its own.
    let mut hello = Vec::new();
    while !hello.ends_with(b"Z\0\0\0\x05I") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("the server's answer");
        hello.push(byte[0]);
    }
    stream.write_all(&[b"Q", &framed(&[query, b"\0"].concat())[..]].concat()).expect("query");
    stream.write_all(b"X\0\0\0\x04").expect("good-bye");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("the answer");
    answer
}

#[test]
fn names() {
    let cluster = quiet_cluster();
    psql(&cluster, &format!("CREATE DATABASE \"{EVIL_NAME}\" ENCODING 'UTF8'"));
    psql(&cluster, &format!("CREATE ROLE \"{EVIL_NAME}\" SUPERUSER LOGIN"));
    let report = profile(&cluster, &[], || {
        let mut client = cluster.client("psql");
        client.env("PGDATABASE", EVIL_NAME).env("PGUSER", EVIL_NAME).env("PGAPPNAME", EVIL);
        let output = client.args(["-X", "-q", "-c", &format!("SELECT 1 AS \"{EVIL}\"")]).output().expect("psql");
        assert!(output.status.success(), "{output:?}");
        psql(&cluster, &format!("SET application_name = '{EVIL}'"));
    });
    assert_eq!(report.statements.count, 2);
    let database = report.backends.iter().filter_map(|backend| backend.database.as_deref());
    assert!(database.clone().any(|name| name.starts_with('d')), "{:?}", database.collect::<Vec<_>>());
    assert_nothing_lost(&report);
}

#[test]
fn bytes_that_are_no_text() {
    let cluster = cluster(ClusterOptions::with(&[QUIET, &["client_encoding = 'SQL_ASCII'"]].concat()));
    psql(&cluster, "CREATE DATABASE ascii ENCODING 'SQL_ASCII' TEMPLATE template0");
    for args in [&[][..], &["--show-literals"]] {
        let report = profile(&cluster, args, || {
            let query = b"SELECT 1 AS \"\xff\xfe\xc3\x28\x1b[2J\x9b31m\", '\xf0\x9f\x92' -- \xe2\x80\xae\x07";
            let answer = raw_connection(&cluster, b"ascii", b"\xff\x1b[2J\x80", query);
            assert!(answer.windows(8).any(|part| part == b"SELECT 1"), "{}", String::from_utf8_lossy(&answer));
        });
        assert_eq!(report.statements.count, 1);
    }
}

#[test]
fn a_megabyte() {
    let cluster = quiet_cluster();
    for args in [&[][..], &["--show-literals"], &["--boundary", "uprobe"]] {
        let report = profile(&cluster, args, || {
            let long = "a".repeat(1 << 20);
            for query in [
                format!("SELECT length('{long}')"),
                format!("SELECT 1 /* {} */", "\x1b[2J".repeat(1 << 18)),
                format!("SELECT {}1", "1+".repeat(1 << 12)),
                // Unfinished in every way.
                format!("SELECT \"{long}"),
                format!("SELECT $tag${long}"),
                format!("{}1{}", "(".repeat(1 << 19), ")".repeat(1 << 19)),
            ] {
                raw_connection(&cluster, b"postgres", b"", query.as_bytes());
            }
        });
        assert!(report.statements.count >= 6, "{args:?}: {}", report.statements.count);
        if !args.contains(&"--show-literals") {
            assert!(!report.queries.iter().any(|query| query.query.contains("aaaaaaaa")), "a literal came out");
        }
        assert_nothing_lost(&report);
    }
}

/// The path of a data directory or of an output is in sentences, too.
#[test]
fn file_names() {
    let cluster = quiet_cluster();
    let evil = format!("/nonexistent/{EVIL}/r.json");
    let refusal = refused(pgstrobe().args(["report", "--pid", &cluster.pid().to_string(), "-d", "9", "-o", &evil]));
    assert_eq!(refusal.code, Some(1), "{}", refusal.stderr);
    assert_harmless("refusal", &refusal.stderr);
    let refusal = refused(pgstrobe().args(["report", "-d", "9", "--data-directory", &evil]));
    assert_eq!(refusal.code, Some(3), "{}", refusal.stderr);
    assert_harmless("refusal", &refusal.stderr);
    let unknown = refused(pgstrobe().args(["report", "-d", "9", "-o", EVIL]));
    assert_eq!(unknown.code, Some(2), "{}", unknown.stderr);
    assert_harmless("refusal", &unknown.stderr);
}
