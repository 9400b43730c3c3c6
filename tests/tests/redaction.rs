//! Literals stay home: no output holds one, unless it was asked for.

use pgstrobe_tests::*;

const WORD: &str = "xyzzy_secret_word";
const NUMBER: &str = "4815162342";

fn statements(cluster: &Cluster) {
    psql(cluster, &format!("SELECT '{WORD}', {NUMBER}"));
    psql(cluster, &format!("SELECT $tag${WORD}$tag$, E'{WORD}\\n' /* {WORD} */ -- {WORD}"));
    psql(cluster, &format!("SET application_name TO '{WORD}x'; RESET application_name"));
    psql(cluster, &format!("CREATE ROLE r PASSWORD '{WORD}'; DROP ROLE r"));
    // No parser takes these.
    psql_fails(cluster, &format!("SELECT '{WORD}"));
    psql_fails(cluster, &format!("SELEKT '{WORD}', {NUMBER}"));
    // Longer than the activity string.
    let long = format!("SELECT '{}', '{WORD}', {NUMBER}", "a".repeat(3000));
    psql(cluster, &long);
}

#[test]
fn nothing_by_default() {
    for settings in [&["compute_query_id = off"][..], &["compute_query_id = on"], &["track_activities = off"]] {
        let cluster = quiet_with(settings);
        for boundary in ["socket", "uprobe"] {
            let profile = Profile::start(&cluster, &["--boundary", boundary]);
            statements(&cluster);
            let said = cluster.dir.join("report.txt");
            let (report, json) = profile.stop_raw();
            let text = std::fs::read_to_string(said).expect("text report");
            assert!(report.statements.count >= 7, "{settings:?}, {boundary}");
            for output in [&json, &text] {
                assert!(!output.contains(NUMBER), "{settings:?}, {boundary}: a number came out");
                // `application_name` is a name the client gave itself, not a part of a statement.
                let output = output.replace(&format!("{WORD}x"), "");
                assert!(!output.contains(WORD), "{settings:?}, {boundary}: a literal came out");
            }
        }
    }
}

#[test]
fn raw_on_request() {
    let cluster = quiet_cluster();
    let profile = Profile::start(&cluster, &["--show-literals"]);
    statements(&cluster);
    let (_, json) = profile.stop_raw();
    assert!(json.contains(WORD) && json.contains(NUMBER));
}
