//! Names that the server is asked for, over an ordinary connection: for what its files and its buffer pool do not tell.
//!
//! Asking is left to a thread of its own, so that a slow server holds up no profile: an answer is there at a later tick.
//! The connections are not encrypted (a local socket needs no more), one a database, and say who they are.

use std::{
    collections::HashMap,
    fmt,
    str::FromStr,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
    time::{Duration, Instant},
};

use tokio_postgres::{Client, Config, NoTls};

use super::{buffers::Whose, rows::Class};

/// What the connections call themselves.
pub const APPLICATION: &str = "pgstrobe";
/// Longest a connection may take to come about, and a question to be answered.
const CONNECT: Duration = Duration::from_secs(3);
const ANSWER: &str = "2s";
/// A file that the server did not know is not asked for again before this time; a server that refused neither.
const PAUSE: Duration = Duration::from_secs(2);
/// Questions under way, files remembered, and databases connected to at a time.
const MOST_UNDER_WAY: usize = 256;
const MOST_ASKED: usize = 10_000;
const MOST_CONNECTIONS: usize = 16;

/// The relation of a file, and with it those that its name comes from: the owner of a TOAST table and of its index, and
/// the relation that one is made to replace.
const QUESTION: &str = "\
SELECT c.oid, c.relname::text, c.relnamespace, n.nspname::text, c.relkind::text, c.relrewrite \
FROM pg_catalog.pg_class f JOIN pg_catalog.pg_class c \
ON c.oid IN (f.oid, f.relrewrite, substring(f.relname::text from '^pg_toast_([0-9]+)')::pg_catalog.oid) \
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE ";
const BY_BOTH: &str = "f.oid = pg_catalog.pg_filenode_relation($1, $2)::pg_catalog.oid";
const BY_NUMBER: &str = "pg_catalog.pg_relation_filenode(f.oid) = $1";

/// A connection string, as libpq takes it, or a URI.
#[derive(Clone)]
pub struct Dsn(Box<Config>);

impl fmt::Debug for Dsn {
    /// Without its password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dsn")
    }
}

impl FromStr for Dsn {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut config: Config = text.parse().map_err(|error| format!("{error}"))?;
        if config.get_hosts().is_empty() {
            return Err("it names no host: give host=/var/run/postgresql for a local socket".into());
        }
        if config.get_password().is_none()
            && let Ok(password) = std::env::var("PGPASSWORD")
        {
            config.password(password);
        }
        if config.get_user().is_none() {
            config.user(std::env::var("PGUSER").unwrap_or_else(|_| "postgres".into()));
        }
        let options = config.get_options().map(|options| format!("{options} ")).unwrap_or_default();
        config.options(format!("{options}-c statement_timeout={ANSWER} -c lock_timeout={ANSWER}"));
        config.application_name(APPLICATION).connect_timeout(CONNECT);
        Ok(Self(config.into()))
    }
}

/// Of which file, the database that answered, and the relation first.
pub type Answer = (Whose, (u32, Box<str>), Vec<(Class, Box<str>)>);

enum Heard {
    Answer(Answer),
    Unknown,
    Failed(String),
}

/// The thread that asks, seen from outside.
pub struct Sql {
    questions: SyncSender<Whose>,
    heard: Receiver<Heard>,
    /// When each file was asked for.
    asked: HashMap<Whose, Instant>,
    sent: usize,
    done: usize,
    /// Those that were answered with a name.
    named: usize,
    failure: Option<String>,
}

impl Sql {
    pub fn start(dsn: &Dsn) -> Self {
        let (questions, to_ask) = sync_channel(MOST_UNDER_WAY);
        let (tell, heard) = sync_channel(MOST_UNDER_WAY);
        let config = Config::clone(&dsn.0);
        let started = thread::Builder::new().name("names".into()).spawn(move || ask_all(config, &to_ask, &tell));
        let failure = started.err().map(|error| format!("no thread for it: {error}"));
        Self { questions, heard, asked: HashMap::new(), sent: 0, done: 0, named: 0, failure }
    }

    /// Puts a question, unless it was put a moment ago.
    pub fn ask(&mut self, of: Whose) {
        let recently = self.asked.get(&of).is_some_and(|at| at.elapsed() < PAUSE);
        let room = self.asked.len() < MOST_ASKED || self.asked.contains_key(&of);
        if recently || !room || self.sent - self.done >= MOST_UNDER_WAY {
            return;
        }
        self.asked.insert(of, Instant::now());
        self.sent += self.questions.try_send(of).is_ok() as usize;
    }

    pub fn answer(&mut self) -> Option<Answer> {
        loop {
            let heard = self.heard.try_recv().ok()?;
            self.done += 1;
            match heard {
                Heard::Answer(answer) => {
                    self.named += 1;
                    return Some(answer);
                }
                Heard::Unknown => {}
                Heard::Failed(reason) => self.failure = Some(reason),
            }
        }
    }

    pub fn waits(&self) -> bool {
        self.done < self.sent
    }

    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.sent > 0 {
            notes.push(format!(
                "pgstrobe itself asked the server for the names of {} files (--dsn) and got {}: what its connections \
                 (application_name {APPLICATION}) did is in the counts",
                self.sent, self.named
            ));
        }
        notes.extend(self.failure.iter().map(|reason| format!("--dsn: {reason}")));
        notes
    }
}

/// Asks until nobody has a question any more.
fn ask_all(config: Config, questions: &Receiver<Whose>, tell: &SyncSender<Heard>) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    let mut asker = Asker { config, first: None, databases: HashMap::new(), refused: None };
    while let Ok(of) = questions.recv() {
        let heard = runtime.block_on(asker.ask(of)).unwrap_or_else(Heard::Failed);
        if tell.send(heard).is_err() {
            return;
        }
    }
}

struct Asker {
    config: Config,
    /// To the database that was given, with its OID and name.
    first: Option<Connection>,
    databases: HashMap<u32, Connection>,
    /// When the server last refused, and with what words.
    refused: Option<(Instant, String)>,
}

struct Connection {
    client: Client,
    oid: u32,
    name: Box<str>,
}

impl Asker {
    async fn ask(&mut self, of: Whose) -> Result<Heard, String> {
        if let Some((at, reason)) = &self.refused
            && at.elapsed() < PAUSE
        {
            return Err(reason.clone());
        }
        let asked = self.ask_now(of).await;
        self.refused = asked.as_ref().err().map(|reason| (Instant::now(), reason.clone()));
        asked
    }

    async fn ask_now(&mut self, of: Whose) -> Result<Heard, String> {
        if self.first.as_ref().is_none_or(|known| known.client.is_closed()) {
            self.first = Some(connect(&self.config).await?);
        }
        let first = self.first.as_ref().ok_or("no connection")?;
        let connection = if of.database == 0 || of.database == first.oid {
            first
        } else {
            if self.databases.get(&of.database).is_none_or(|known| known.client.is_closed()) {
                let question = "SELECT datname::text FROM pg_catalog.pg_database WHERE oid = $1 AND datallowconn";
                let Some(row) = first.client.query_opt(question, &[&of.database]).await.map_err(sentence)? else {
                    return Ok(Heard::Unknown);
                };
                if self.databases.len() >= MOST_CONNECTIONS {
                    self.databases.clear();
                }
                let name: String = row.try_get(0).map_err(sentence)?;
                let connection = connect(self.config.clone().dbname(name)).await?;
                self.databases.insert(of.database, connection);
            }
            self.databases.get(&of.database).ok_or("no connection")?
        };
        let Connection { client, oid, name } = connection;
        let rows = match of.tablespace {
            0 => client.query(&format!("{QUESTION}{BY_NUMBER}"), &[&of.filenode]).await,
            tablespace => client.query(&format!("{QUESTION}{BY_BOTH}"), &[&tablespace, &of.filenode]).await,
        };
        let mut relations = Vec::new();
        for row in rows.map_err(sentence)? {
            let relation = || {
                let class = Class {
                    oid: row.try_get(0)?,
                    name: row.try_get::<_, String>(1)?.into(),
                    namespace: row.try_get(2)?,
                    filenode: 0,
                    tablespace: 0,
                    kind: row.try_get::<_, String>(4)?.bytes().next().unwrap_or(0),
                    rewrite: row.try_get(5)?,
                };
                Ok((class, row.try_get::<_, String>(3)?.into()))
            };
            relations.push(relation().map_err(sentence)?);
        }
        Ok(if relations.is_empty() { Heard::Unknown } else { Heard::Answer((of, (*oid, name.clone()), relations)) })
    }
}

async fn connect(config: &Config) -> Result<Connection, String> {
    let (client, connection) = config.connect(NoTls).await.map_err(sentence)?;
    tokio::spawn(connection);
    let question =
        "SELECT oid, datname::text FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()";
    let row = client.query_one(question, &[]).await.map_err(sentence)?;
    let (oid, name): (u32, String) = (row.try_get(0).map_err(sentence)?, row.try_get(1).map_err(sentence)?);
    Ok(Connection { client, oid, name: name.into() })
}

/// The error with its cause, which it does not say by itself.
fn sentence(error: tokio_postgres::Error) -> String {
    match std::error::Error::source(&error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_string_names_a_host() {
        let dsn: Dsn = "host=/tmp port=5433 user=me password=secret dbname=shop".parse().unwrap();
        assert_eq!(dsn.0.get_application_name(), Some(APPLICATION));
        assert!(!format!("{dsn:?}").contains("secret"));
        assert!("postgresql://me@127.0.0.1:5433/shop".parse::<Dsn>().is_ok());
        for bad in ["port=5432", "host=/tmp port=x", "nonsense"] {
            assert!(bad.parse::<Dsn>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_server_that_is_not_there_is_a_sentence() {
        let dsn: Dsn = "host=/nonexistent user=postgres".parse().unwrap();
        let mut sql = Sql::start(&dsn);
        let of = Whose { tablespace: 1663, database: 5, filenode: 16384 };
        sql.ask(of);
        sql.ask(of);
        assert_eq!(sql.sent, 1);
        while sql.waits() {
            assert!(sql.answer().is_none());
            thread::sleep(Duration::from_millis(5));
        }
        assert!(sql.notes()[1].starts_with("--dsn: error connecting"), "{:?}", sql.notes());
    }
}
