//! The server's own word on what its backends do: pg_stat_activity and pg_blocking_pids, asked again and again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use xtask::cluster::Cluster;

use crate::load::Client;

/// application_name of the one who asks; it is in no sample.
pub const WITNESS: &str = "witness";

/// A thread that polls until it is stopped.
pub struct Activity {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<Samples>>,
}

/// Client backends at the moments they were looked at.
#[derive(Debug, Default)]
pub struct Samples {
    /// How often was looked.
    pub polls: u64,
    /// Share of the time in which it could not look because it, or its backend, waited for a CPU.
    pub blind: f64,
    /// `Type:Event` of backends in a statement, or `none`.
    pub active: BTreeMap<String, u64>,
    /// The same of all client backends, in a statement or not.
    pub all: BTreeMap<String, u64>,
    /// Seen once or more: who waited, the state of whom it waited for, and what that one waited for.
    pub blocking: BTreeSet<(u32, u32, String, String)>,
}

const BACKENDS: &str = "SELECT string_agg(concat_ws('/', state, coalesce(wait_event_type || ':' || wait_event, 'none')), \
                        ',') FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";

/// pg_blocking_pids locks the lock manager: not for a witness of times.
const BLOCKERS: &str = "SELECT string_agg(concat_ws('/', w.pid, b.pid, b.state, coalesce(b.wait_event, 'none')), ',') \
                        FROM pg_stat_activity w, unnest(pg_blocking_pids(w.pid)) p JOIN pg_stat_activity b ON b.pid = p \
                        WHERE w.wait_event_type = 'Lock'";

/// How long a process or thread has waited for a CPU in its life (`sched_info.run_delay`, Documentation/scheduler/sched-stats).
fn run_delay_ns(task: &str) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{task}/schedstat")).unwrap_or_default();
    stat.split(' ').nth(1).and_then(|ns| ns.parse().ok()).unwrap_or(0)
}

impl Activity {
    pub fn watch(cluster: &Cluster, every: Duration) -> Self {
        Self::poll(cluster, every, false)
    }

    /// Also who blocks whom.
    pub fn watch_blockers(cluster: &Cluster, every: Duration) -> Self {
        Self::poll(cluster, every, true)
    }

    fn poll(cluster: &Cluster, every: Duration, blockers: bool) -> Self {
        let mut client = Client::connect(cluster, WITNESS);
        let backend = client.backend(cluster).to_string();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut samples = Samples::default();
            let (began, waited) = (Instant::now(), run_delay_ns("thread-self") + run_delay_ns(&backend));
            while !stopped.load(Ordering::Relaxed) {
                samples.add(&client.ask(BACKENDS));
                if blockers {
                    samples.add_blockers(&client.ask(BLOCKERS));
                }
                std::thread::sleep(every);
            }
            let waited = run_delay_ns("thread-self") + run_delay_ns(&backend) - waited;
            samples.blind = waited as f64 / began.elapsed().as_nanos() as f64;
            samples
        });
        Self { stop, thread: Some(thread) }
    }

    pub fn stop(mut self) -> Samples {
        self.stop.store(true, Ordering::Relaxed);
        let samples = self.thread.take().expect("a thread").join().expect("the witness");
        println!("{} polls, {:.1} % blind, active: {:?}", samples.polls, samples.blind * 100.0, samples.active);
        samples
    }
}

impl Drop for Activity {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Samples {
    fn add(&mut self, row: &str) {
        self.polls += 1;
        for (state, event) in row.split(',').filter_map(|backend| backend.split_once('/')) {
            *self.all.entry(event.to_string()).or_default() += 1;
            // `idle` and `idle in transaction` are not.
            if state == "active" {
                *self.active.entry(event.to_string()).or_default() += 1;
            }
        }
    }

    fn add_blockers(&mut self, row: &str) {
        for pair in row.split(',') {
            let words: Vec<&str> = pair.split('/').collect();
            if let [waits, blocks, state, event] = words[..] {
                let pid = |text: &str| text.parse().expect("a pid");
                self.blocking.insert((pid(waits), pid(blocks), state.to_string(), event.to_string()));
            }
        }
    }

    /// The share of a wait event in the samples of backends in a statement; a name may end in `:` for all of a type.
    pub fn share(&self, event: &str) -> f64 {
        let fits = |of: &str| of == event || event.ends_with(':') && of.starts_with(event);
        let of: u64 = self.active.iter().filter(|(name, _)| fits(name)).map(|(_, count)| count).sum();
        of as f64 / self.active.values().sum::<u64>().max(1) as f64
    }

    /// What was seen most in backends in a statement.
    pub fn most(&self) -> &str {
        self.active.iter().max_by_key(|(_, count)| **count).map_or("", |(event, _)| event)
    }
}
