//! Titles are written by whoever connects: any bytes are read, and no control character comes out.

use proptest::prelude::*;

use super::*;

fn words() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        "[a-z]{1,8}",
        Just("[local]".into()),
        Just("10.0.0.1(5432)".into()),
        Just("walsender".into()),
        Just("parallel worker for PID".into()),
        Just("autovacuum worker".into()),
        Just("bgworker:".into()),
        Just("logical replication apply worker for subscription 7".into()),
        Just("postgres:".into()),
        Just("".into()),
        "\\PC{0,6}",
        any::<String>(),
    ];
    prop::collection::vec(word, 0..8).prop_map(|words| format!("postgres: {}", words.join(" ")))
}

fn harmless(identity: &Identity) -> bool {
    let texts = [&identity.database, &identity.user, &identity.application_name, &identity.remote];
    texts.into_iter().flatten().all(|text| !text.chars().any(char::is_control))
}

proptest! {
    #[test]
    fn any_bytes(title in prop::collection::vec(any::<u8>(), 0..300), name in prop::option::of(any::<String>())) {
        prop_assert!(harmless(&from_title(&title, name.as_deref())));
        let titled = [&b"postgres: "[..], &title].concat();
        prop_assert!(harmless(&from_title(&titled, name.as_deref())));
    }

    #[test]
    fn any_words(title in words(), name in prop::option::of("[a-z: ]{0,6}")) {
        prop_assert!(harmless(&from_title(title.as_bytes(), name.as_deref())));
    }

    /// What a server writes is read back.
    #[test]
    fn clients(user in "[a-z_][a-z0-9_]{0,20}", database in "[a-z_][a-z0-9_]{0,20}", activity in "[A-Z ]{0,20}") {
        let title = format!("postgres: {user} {database} [local] {activity}");
        let identity = from_title(title.as_bytes(), Some(""));
        if !["walsender", "bgworker"].contains(&user.as_str()) {
            prop_assert_eq!(identity.role, Role::ClientBackend);
            prop_assert_eq!((identity.user, identity.database), (Some(user), Some(database)));
        }
    }
}
