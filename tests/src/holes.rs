//! How long this machine stood still for a thread that nobody else may keep from a CPU: what its hypervisor, or the emulator
//! it runs in, took from it between two looks at a clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::client::FirstOnCpu;
use crate::clocks::monotonic_ns;

const STEP: Duration = Duration::from_millis(1);

/// A thread that sleeps a millisecond again and again, until it is dropped.
pub struct Holes {
    largest_ns: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Holes {
    pub fn watch() -> Self {
        let (largest_ns, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (largest, stopped) = (largest_ns.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            let _first = FirstOnCpu::get();
            while !stopped.load(Ordering::Relaxed) {
                let before = monotonic_ns();
                std::thread::sleep(STEP);
                let late = (monotonic_ns() - before).saturating_sub(STEP.as_nanos() as u64);
                largest.fetch_max(late, Ordering::Relaxed);
            }
        });
        Self { largest_ns, stop, thread: Some(thread) }
    }

    /// The largest so far, in nanoseconds.
    pub fn largest_ns(&self) -> u64 {
        self.largest_ns.load(Ordering::Relaxed)
    }
}

impl Drop for Holes {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        drop(self.thread.take().map(std::thread::JoinHandle::join));
    }
}
