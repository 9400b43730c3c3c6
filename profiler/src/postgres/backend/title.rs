//! Reads process titles, the words `ps` shows, of PostgreSQL 9.6 to 18.
//!
//! Up to 10 a title is `postgres: wal writer process`, from 11 on `postgres: walwriter`; up to 10 a background worker's
//! is `postgres: bgworker: NAME`. A client backend's is `postgres: USER DATABASE HOST(PORT) ACTIVITY` or `[local]`.
//! With `cluster_name` set, `NAME: ` follows the first prefix. Names may hold spaces, and nothing quotes them: what
//! cannot be told apart is left out (src/backend/utils/misc/ps_status.c, src/backend/postmaster/postmaster.c,
//! `BackendInitialize`).

use super::Role;

/// What a process says of itself. Texts come from clients: control characters are replaced by `?`.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Identity {
    pub role: Role,
    /// Pid of the leader of a parallel worker; in a title, as the server's own pid namespace counts.
    pub leader: Option<u32>,
    pub database: Option<String>,
    pub user: Option<String>,
    /// Never in a title: for callers who read it from memory.
    pub application_name: Option<String>,
    /// `[local]` or `HOST(PORT)`.
    pub remote: Option<String>,
}

impl Identity {
    /// Only the role is known.
    pub fn of(role: Role) -> Self {
        Self { role, ..Self::default() }
    }
}

const PREFIXES: [&str; 2] = ["postgres: ", "edb-postgres: "];

/// Roles by the beginning of their title, the longer name before the shorter one.
const NAMES: &[(&str, Role)] = &[
    ("checkpointer process", Role::Checkpointer),
    ("checkpointer", Role::Checkpointer),
    ("background writer", Role::BackgroundWriter),
    ("writer process", Role::BackgroundWriter),
    ("wal writer process", Role::WalWriter),
    ("walwriter", Role::WalWriter),
    ("archiver process", Role::Archiver),
    ("archiver", Role::Archiver),
    ("startup process", Role::Startup),
    ("startup", Role::Startup),
    ("wal receiver process", Role::WalReceiver),
    ("walreceiver", Role::WalReceiver),
    ("autovacuum launcher process", Role::AutovacuumLauncher),
    ("autovacuum launcher", Role::AutovacuumLauncher),
    ("logical replication launcher", Role::LogicalLauncher),
    ("io worker", Role::IoWorker),
    ("walsummarizer", Role::WalSummarizer),
    ("slotsync worker", Role::SlotsyncWorker),
    ("logger process", Role::Logger),
    ("logger", Role::Logger),
    ("syslogger", Role::Logger),
    ("stats collector process", Role::StatsCollector),
    ("stats collector", Role::StatsCollector),
    ("dead-end client backend", Role::ClientBackend),
    ("client backend", Role::ClientBackend),
];

/// Reads the bytes of /proc/PID/cmdline of a process known to be a server's.
///
/// `cluster_name` is the setting where it is known (empty when not set); where not, a prefix is guessed from what
/// follows it. A title without `postgres: ` is the command line of the postmaster, or of a child in its first moments.
pub fn from_title(title: &[u8], cluster_name: Option<&str>) -> Identity {
    let first = title.split(|&byte| byte == 0).next().unwrap_or_default();
    let text: String =
        String::from_utf8_lossy(first).chars().map(|char| if char.is_control() { '?' } else { char }).collect();
    let Some(body) = PREFIXES.iter().find_map(|prefix| text.strip_prefix(prefix)) else {
        let role = if text.trim().is_empty() { Role::Unknown } else { Role::Postmaster };
        return Identity::of(role);
    };
    let body = body.trim_end_matches(' ');
    if let Some(name) = cluster_name {
        let own = (!name.is_empty()).then(|| body.strip_prefix(name)?.strip_prefix(": ")).flatten().unwrap_or(body);
        return certain(own).unwrap_or_else(|| vague(own));
    }
    // The whole first; then what stands behind each colon.
    let tails = body.match_indices(": ").map(|(at, colon)| &body[at + colon.len()..]);
    std::iter::once(body).chain(tails).find_map(certain).unwrap_or_else(|| vague(body))
}

/// A title whose form leaves no doubt.
fn certain(body: &str) -> Option<Identity> {
    let words: Vec<&str> = body.split(' ').collect();
    for name in ["walsender", "wal sender process"] {
        if let Some(rest) = tail(body, name) {
            return walsender(rest);
        }
    }
    for name in ["autovacuum worker process", "autovacuum worker"] {
        if let Some(rest) = tail(body, name).map(str::trim).filter(|rest| !starts_remote(rest)) {
            let database = Some(rest).filter(|rest| !rest.is_empty()).map(Into::into);
            return Some(Identity { database, ..Identity::of(Role::AutovacuumWorker) });
        }
    }
    // A user may be called as a process is: only a client's title has a remote end in third place.
    if let [user, database, remote, ..] = words[..]
        && is_remote(remote)
        && ![user, database].iter().any(|name| name.is_empty() || name.ends_with(':'))
    {
        return Some(Identity {
            user: Some(user.into()),
            database: Some(database.into()),
            remote: Some(remote.into()),
            ..Identity::of(Role::ClientBackend)
        });
    }
    if has_remote(body) {
        return None;
    }
    let worker = body.strip_prefix("bgworker: ").unwrap_or(body);
    if let Some(leader) = tail(worker, "parallel worker for PID") {
        return Some(Identity { leader: leader.trim().parse().ok(), ..Identity::of(Role::ParallelWorker) });
    }
    if worker.starts_with("logical replication ") && worker.contains("worker for subscription ") {
        return Some(Identity::of(Role::LogicalWorker));
    }
    let named = NAMES.iter().find(|(name, _)| tail(worker, name).is_some());
    match named {
        Some(&(_, role)) => Some(Identity::of(role)),
        None if worker.len() < body.len() => Some(Identity::of(Role::BackgroundWorker)),
        None => None,
    }
}

/// Anything else: a client whose names hold spaces, or a background worker by a name of its own.
fn vague(body: &str) -> Identity {
    match body.split(' ').position(is_remote) {
        Some(at) if at > 0 => {
            let remote = body.split(' ').nth(at).map(Into::into);
            Identity { remote, ..Identity::of(Role::ClientBackend) }
        }
        _ if body.trim().is_empty() => Identity::of(Role::Unknown),
        _ => Identity::of(Role::BackgroundWorker),
    }
}

/// `USER HOST(PORT) …` or, for logical decoding, `USER DATABASE HOST(PORT) …`; nothing right after the start.
fn walsender(rest: &str) -> Option<Identity> {
    let sender = Identity::of(Role::WalSender);
    let words: Vec<&str> = rest.trim_start().split(' ').collect();
    match words[..] {
        [remote, ..] if is_remote(remote) => None, // A client called walsender: `walsender DATABASE` is not here.
        [user, remote, ..] if is_remote(remote) => {
            Some(Identity { user: Some(user.into()), remote: Some(remote.into()), ..sender })
        }
        [user, database, remote, ..] if is_remote(remote) => Some(Identity {
            user: Some(user.into()),
            database: Some(database.into()),
            remote: Some(remote.into()),
            ..sender
        }),
        _ => Some(Identity { remote: words.iter().find(|word| is_remote(word)).map(|word| (*word).into()), ..sender }),
    }
}

/// What follows `name` as whole words.
fn tail<'a>(body: &'a str, name: &str) -> Option<&'a str> {
    body.strip_prefix(name).filter(|rest| rest.is_empty() || rest.starts_with(' '))
}

/// A client's title goes on with an activity; a database alone may look like a remote end.
fn starts_remote(rest: &str) -> bool {
    rest == "[local]" || rest.split_once(' ').is_some_and(|(first, _)| is_remote(first))
}

fn has_remote(body: &str) -> bool {
    body.split(' ').skip(1).any(is_remote)
}

/// `[local]` or `HOST(PORT)`.
fn is_remote(word: &str) -> bool {
    let host_and_port = || {
        let (host, port) = word.strip_suffix(')')?.rsplit_once('(')?;
        Some(!host.is_empty() && port.parse::<u16>().is_ok())
    };
    word == "[local]" || host_and_port().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(user: &str, database: &str, remote: &str) -> Identity {
        Identity {
            user: Some(user.into()),
            database: Some(database.into()),
            remote: Some(remote.into()),
            ..Identity::of(Role::ClientBackend)
        }
    }

    #[test]
    fn roles_of_every_version() {
        for (body, role) in [
            // 11 to 18
            ("checkpointer", Role::Checkpointer),
            ("checkpointer performing end-of-recovery checkpoint", Role::Checkpointer),
            ("background writer", Role::BackgroundWriter),
            ("walwriter", Role::WalWriter),
            ("autovacuum launcher", Role::AutovacuumLauncher),
            ("logical replication launcher", Role::LogicalLauncher),
            ("logical replication worker for subscription 16390", Role::LogicalWorker),
            ("logical replication worker for subscription 16390 sync 16385", Role::LogicalWorker),
            ("logical replication apply worker for subscription 16390", Role::LogicalWorker),
            ("logical replication parallel apply worker for subscription 16390", Role::LogicalWorker),
            ("logical replication tablesync worker for subscription 16390 sync 16385", Role::LogicalWorker),
            ("archiver", Role::Archiver),
            ("archiver last was 000000010000000000000003", Role::Archiver),
            ("archiver failed on 000000010000000000000003", Role::Archiver),
            ("walreceiver streaming 0/3000148", Role::WalReceiver),
            ("startup recovering 000000010000000000000003", Role::Startup),
            ("startup waiting for 000000010000000000000003", Role::Startup),
            ("io worker 2", Role::IoWorker),
            ("walsummarizer", Role::WalSummarizer),
            ("slotsync worker", Role::SlotsyncWorker),
            ("logger", Role::Logger),
            ("stats collector", Role::StatsCollector),
            ("walsender", Role::WalSender),
            ("client backend", Role::ClientBackend),
            ("dead-end client backend", Role::ClientBackend),
            ("pg_cron launcher", Role::BackgroundWorker),
            ("TimescaleDB Background Worker Scheduler", Role::BackgroundWorker),
            // 9.6 and 10
            ("checkpointer process  ", Role::Checkpointer),
            ("writer process  ", Role::BackgroundWriter),
            ("wal writer process  ", Role::WalWriter),
            ("autovacuum launcher process  ", Role::AutovacuumLauncher),
            ("archiver process   last was 000000010000000000000003", Role::Archiver),
            ("wal receiver process   streaming 0/3000148", Role::WalReceiver),
            ("startup process   recovering 000000010000000000000003", Role::Startup),
            ("logger process  ", Role::Logger),
            ("stats collector process  ", Role::StatsCollector),
            ("bgworker: logical replication launcher  ", Role::LogicalLauncher),
            ("bgworker: logical replication worker for subscription 16390  ", Role::LogicalWorker),
            ("bgworker: pg_cron_scheduler  ", Role::BackgroundWorker),
            ("", Role::Unknown),
        ] {
            let expected = Identity::of(role);
            let plain = format!("postgres: {body}");
            let named = format!("postgres: main cluster: {body}");
            for padding in ["", "   ", "\0\0\0"] {
                let (plain, named) = (plain.clone() + padding, named.clone() + padding);
                assert_eq!(from_title(plain.as_bytes(), Some("")), expected, "{plain:?}");
                assert_eq!(from_title(plain.as_bytes(), None), expected, "{plain:?}");
                if !body.is_empty() {
                    assert_eq!(from_title(named.as_bytes(), Some("main cluster")), expected, "{named:?}");
                    assert_eq!(from_title(named.as_bytes(), None), expected, "{named:?}");
                }
            }
        }
    }

    #[test]
    fn names_in_titles() {
        let leader = |pid| Identity { leader: Some(pid), ..Identity::of(Role::ParallelWorker) };
        let vacuum =
            |database: &str| Identity { database: Some(database.into()), ..Identity::of(Role::AutovacuumWorker) };
        let sender = |user: &str, database: Option<&str>, remote: &str| Identity {
            user: Some(user.into()),
            database: database.map(Into::into),
            remote: Some(remote.into()),
            ..Identity::of(Role::WalSender)
        };
        for (body, expected) in [
            ("alice shop [local] idle", client("alice", "shop", "[local]")),
            ("alice shop [local]", client("alice", "shop", "[local]")),
            ("alice shop 10.0.0.1(51234) SELECT", client("alice", "shop", "10.0.0.1(51234)")),
            ("alice shop ::1(51234) idle in transaction", client("alice", "shop", "::1(51234)")),
            ("alice shop fe80::1%eth0(1) authentication", client("alice", "shop", "fe80::1%eth0(1)")),
            ("alice shop db.example.com(5) UPDATE waiting", client("alice", "shop", "db.example.com(5)")),
            ("checkpointer startup [local] idle", client("checkpointer", "startup", "[local]")),
            ("parallel worker [local] idle", client("parallel", "worker", "[local]")),
            ("autovacuum worker [local] idle", client("autovacuum", "worker", "[local]")),
            ("autovacuum worker", Identity::of(Role::AutovacuumWorker)),
            ("autovacuum worker shop", vacuum("shop")),
            ("autovacuum worker my shop", vacuum("my shop")),
            ("autovacuum worker process   shop", vacuum("shop")),
            ("parallel worker for PID 4711", leader(4711)),
            ("bgworker: parallel worker for PID 4711", leader(4711)),
            ("walsender rep 10.0.0.1(5) streaming 0/3000148", sender("rep", None, "10.0.0.1(5)")),
            ("walsender rep [local] streaming 0/3000148", sender("rep", None, "[local]")),
            ("walsender rep shop 10.0.0.1(5) START_REPLICATION", sender("rep", Some("shop"), "10.0.0.1(5)")),
            ("wal sender process rep 10.0.0.1(5) streaming 0/3", sender("rep", None, "10.0.0.1(5)")),
            // Names with spaces cannot be told apart: neither is given.
            (
                "my user my shop [local] idle",
                Identity { remote: Some("[local]".into()), ..Identity::of(Role::ClientBackend) },
            ),
        ] {
            for (title, name) in [
                (format!("postgres: {body}   "), Some("")),
                (format!("postgres: {body}"), None),
                (format!("edb-postgres: {body}"), None),
                (format!("postgres: 15/main: {body}"), Some("15/main")),
                (format!("postgres: 15/main: {body}"), None),
                (format!("postgres: {body}"), Some("15/main")),
            ] {
                assert_eq!(from_title(title.as_bytes(), name), expected, "{title:?} {name:?}");
            }
        }
    }

    #[test]
    fn the_postmaster_and_nothing() {
        for title in [&b"/usr/lib/postgresql/15/bin/postgres\0-D\0/srv/pg\0"[..], b"postgres\0", b"postgres"] {
            assert_eq!(from_title(title, None), Identity::of(Role::Postmaster));
        }
        assert_eq!(from_title(b"", None), Identity::of(Role::Unknown));
        assert_eq!(from_title(b"\0\0", None), Identity::of(Role::Unknown));
    }

    #[test]
    fn foreign_bytes_are_harmless() {
        let title = b"postgres: al\x1b[31mice sh\xffop [local] idle";
        assert_eq!(from_title(title, None), client("al?[31mice", "sh\u{fffd}op", "[local]"));
        for title in [&b"postgres: "[..], b"postgres: : : :", b"postgres: [local]", b"postgres: (1)", b"\xff\xfe"] {
            for name in [None, Some(""), Some(":"), Some("x")] {
                from_title(title, name);
            }
        }
        let title = b"postgres: bgworker: parallel worker for PID 99999999999";
        assert_eq!(from_title(title, None), Identity::of(Role::ParallelWorker));
    }
}
