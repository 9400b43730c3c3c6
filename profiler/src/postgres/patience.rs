//! Looks into the server's files that cannot keep the profile waiting.
//!
//! A file system may not answer: its disk hangs, or the server of a network file system is away. Who looks into it then
//! sleeps until it does, and on such a night more than ever somebody profiles. So each file system is looked into by a
//! thread of its own, which may be left behind.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Sender, channel, sync_channel},
    },
    time::Duration,
};

use super::catalog::{DEFAULT_TABLESPACE, GLOBAL_TABLESPACE};

/// How long an answer is usually waited for.
const LIMIT: Duration = Duration::from_secs(2);

/// Where files are that lie on one file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Domain {
    Data,
    /// `pg_wal`, which may be a link to another disk.
    Wal,
    /// By its OID.
    Tablespace(u32),
}

impl Domain {
    /// Where a tablespace is, by its OID; 0 stands for that of the database.
    pub fn of(tablespace: u32) -> Self {
        match tablespace {
            0 | DEFAULT_TABLESPACE | GLOBAL_TABLESPACE => Self::Data,
            oid => Self::Tablespace(oid),
        }
    }
}

/// The threads that look, and whose they are; clones share them.
#[derive(Clone)]
pub struct Patience {
    limit: Duration,
    readers: Arc<Mutex<BTreeMap<Domain, Reader>>>,
}

type Job = Box<dyn FnOnce() + Send>;

struct Reader {
    jobs: Sender<Job>,
    /// It is still at work.
    busy: Arc<AtomicBool>,
    /// An answer was not there in time since this was last asked.
    silent: bool,
}

impl Default for Patience {
    fn default() -> Self {
        Self::until(LIMIT)
    }
}

impl Patience {
    pub fn until(limit: Duration) -> Self {
        Self { limit, readers: Arc::default() }
    }

    /// What a look gives; none where it is not done in time, or the thread is still busy with an earlier one.
    pub fn within<T: Send + 'static>(&self, domain: Domain, look: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let (answer, answered) = sync_channel(1);
        {
            let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
            let reader = readers.entry(domain).or_insert_with(Reader::start);
            if reader.busy.swap(true, Ordering::AcqRel) {
                reader.silent = true;
                return None;
            }
            let busy = Arc::clone(&reader.busy);
            let job = move || {
                let found = look();
                busy.store(false, Ordering::Release);
                let _ = answer.send(found);
            };
            reader.jobs.send(Box::new(job)).ok()?;
        }
        let found = answered.recv_timeout(self.limit).ok();
        if found.is_none() {
            tracing::debug!("{domain:?} does not answer");
            let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
            readers.entry(domain).and_modify(|reader| reader.silent = true);
        }
        found
    }

    /// What did not answer in time since the last call, in sentences for people.
    pub fn notes(&self) -> Vec<String> {
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        let silent =
            readers.iter_mut().filter_map(|(domain, reader)| std::mem::take(&mut reader.silent).then_some(domain));
        silent
            .map(|domain| {
                format!(
                    "{domain} did not answer within {} s: what is read there is missing, as names and sizes of relations; see \
                     dmesg, and what else waits for it",
                    self.limit.as_secs()
                )
            })
            .collect()
    }
}

impl Reader {
    fn start() -> Self {
        let (jobs, waiting) = channel::<Job>();
        // It ends with the last that may ask; one that is never answered, with the process.
        std::thread::spawn(move || waiting.into_iter().for_each(|job| job()));
        Self { jobs, busy: Arc::default(), silent: false }
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Data => write!(f, "the file system of the server's data directory"),
            Self::Wal => write!(f, "the file system of pg_wal"),
            Self::Tablespace(oid) => write!(f, "the file system of the tablespace with the OID {oid}"),
        }
    }
}

impl fmt::Debug for Patience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Patience")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn who_does_not_answer_is_not_waited_for() {
        let patience = Patience::default();
        assert_eq!(patience.within(Domain::Data, || 1), Some(1));
        let (go_on, held) = channel::<()>();
        let began = Instant::now();
        assert_eq!(patience.within(Domain::Data, move || held.recv().is_ok()), None);
        assert!(began.elapsed() >= LIMIT && began.elapsed() < LIMIT * 2);
        let began = Instant::now();
        assert_eq!(patience.within(Domain::Data, || 2), None, "it is still at it");
        assert_eq!(patience.within(Domain::Tablespace(7), || 3), Some(3), "another one answers");
        assert!(began.elapsed() < LIMIT / 2);
        let notes = patience.notes();
        assert!(notes.len() == 1 && notes[0].contains("data directory did not answer within 2 s"), "{notes:?}");
        go_on.send(()).expect("it waits");
        let again = || patience.within(Domain::Data, || 4);
        assert!((0..100).any(|_| again().is_some() || (std::thread::sleep(LIMIT / 100), false).1), "it is free again");
        patience.notes();
        assert_eq!((again(), patience.notes()), (Some(4), vec![]));
    }
}
