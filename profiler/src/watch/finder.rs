//! Finds servers that start while a profile runs. To look at one takes as long as its disk likes, and a server in its first
//! moments has to be looked at again: so it is done by a thread of its own, and nobody waits for it.

use std::{
    collections::HashSet,
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    time::{Duration, Instant},
};

use crate::postgres::{
    catalog::{Catalog, Dsn},
    cluster::{self, Process, Versions},
    server::Server,
};

/// How often a process that may become a server is looked at.
const AGAIN: Duration = Duration::from_millis(50);
/// For how long: recovery may come before it is ready, but its files are there at once.
const GIVE_UP: Duration = Duration::from_secs(60);
/// How long a server may take to show what its layout can be checked against, before it is taken as it is.
const UNREADY: Duration = Duration::from_secs(5);

/// What is asked of the thread.
enum Ask {
    /// These processes have become another program.
    Look(Vec<u32>),
    /// Look for all there are.
    Scan,
}

/// A server that was found, ready to be watched.
pub(super) struct Found {
    pub server: Server,
    pub catalog: Catalog,
}

/// The other end of the thread, which ends with this.
pub(super) struct Finder {
    asks: Sender<Ask>,
    found: Receiver<Found>,
}

impl Finder {
    /// `known` are the postmasters that need not be found.
    pub fn start(known: impl IntoIterator<Item = Process>, dsn: Option<Dsn>) -> Self {
        let (asks, asked) = channel();
        let (finds, found) = channel();
        let mut search = Search {
            settled: known.into_iter().collect(),
            pending: Vec::new(),
            versions: Versions::default(),
            dsn,
            found: finds,
        };
        std::thread::spawn(move || search.run(&asked));
        Self { asks, found }
    }

    /// These processes have become another program: a server perhaps.
    pub fn look_at(&self, pids: Vec<u32>) {
        let _ = self.asks.send(Ask::Look(pids));
    }

    /// Looks for all servers there are.
    pub fn scan(&self) {
        let _ = self.asks.send(Ask::Scan);
    }

    /// The next one that was found.
    pub fn next(&self) -> Option<Found> {
        self.found.try_recv().ok()
    }
}

/// What the thread knows.
struct Search {
    /// Processes that were found, or given up.
    settled: HashSet<Process>,
    /// Those that may be servers, and since when.
    pending: Vec<(Process, Instant)>,
    versions: Versions,
    dsn: Option<Dsn>,
    found: Sender<Found>,
}

impl Search {
    fn run(&mut self, asked: &Receiver<Ask>) {
        loop {
            let ask = if self.pending.is_empty() {
                asked.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                asked.recv_timeout(AGAIN)
            };
            match ask {
                Ok(Ask::Look(pids)) => self.add(pids.into_iter().filter_map(cluster::postmaster)),
                Ok(Ask::Scan) => {
                    let there = cluster::postmasters();
                    let live: HashSet<Process> = there.iter().copied().collect();
                    self.settled.retain(|process| live.contains(process));
                    self.add(there);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            for (process, since) in std::mem::take(&mut self.pending) {
                match self.look(process, since) {
                    Outcome::Later => self.pending.push((process, since)),
                    Outcome::None => {}
                    Outcome::Server(found) => {
                        if self.found.send(*found).is_err() {
                            return;
                        }
                    }
                }
            }
        }
    }

    fn add(&mut self, processes: impl IntoIterator<Item = Process>) {
        for process in processes {
            if self.settled.insert(process) {
                self.pending.push((process, Instant::now()));
            }
        }
    }

    fn look(&mut self, process: Process, since: Instant) -> Outcome {
        let later = |reason: &str| {
            tracing::debug!("process {}: {reason}", process.pid);
            if since.elapsed() < GIVE_UP && process.is_alive() { Outcome::Later } else { Outcome::None }
        };
        let cluster = match cluster::look_at(process, &mut self.versions) {
            Ok(cluster) => cluster,
            Err(reason) => return later(&reason),
        };
        let ready = cluster.port.is_some();
        let server = match Server::open(cluster) {
            Ok(server) => server,
            Err(error) => return later(&error.to_string()),
        };
        if since.elapsed() < UNREADY && !(ready && server.is_verified()) {
            return later("it is in its first moments");
        }
        let catalog = Catalog::open(&server, self.dsn.as_ref());
        Outcome::Server(Box::new(Found { server, catalog }))
    }
}

enum Outcome {
    /// It may be one soon.
    Later,
    /// It is none, or no more.
    None,
    Server(Box<Found>),
}
