//! Events as the kernel's own tracing writes them down: a witness that needs no program.

use std::fs;
use std::io;
use std::path::PathBuf;

use xtask::tracepoints::Tracefs;

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceEvent {
    pub pid: u32,
    pub name: String,
    /// As in tracefs: `order=0 gfp_flags=GFP_KERNEL`.
    pub fields: String,
}

impl TraceEvent {
    /// `          psql-812     [001] .....    70.123456: mm_vmscan_direct_reclaim_end: nr_reclaimed=32`, where the name of
    /// a process may hold anything.
    fn parse(line: &str) -> Option<Self> {
        let is_cpu = |at: usize| line[at + 2..].split(']').next().is_some_and(|cpu| cpu.parse::<u32>().is_ok());
        let (cpu, _) = line.match_indices(" [").find(|(at, _)| is_cpu(*at))?;
        let pid = line[..cpu].rsplit('-').next()?.trim().parse().ok()?;
        let (_, event) = line[cpu..].split_once(": ")?;
        let (name, fields) = event.split_once(": ")?;
        Some(Self { pid, name: name.into(), fields: fields.trim().into() })
    }

    /// The number in a field.
    pub fn number(&self, field: &str) -> Option<u64> {
        let mut words = self.fields.split(' ');
        words.find_map(|word| word.strip_prefix(field)?.strip_prefix('=')?.parse().ok())
    }
}

/// A buffer of its own beside those of other tools; it is removed when this is dropped.
pub struct TraceEvents {
    instance: PathBuf,
    events: Vec<PathBuf>,
    _tracefs: Tracefs,
}

impl TraceEvents {
    /// Writes down these from now on: `vmscan/mm_vmscan_direct_reclaim_end`.
    ///
    /// # Errors
    /// Where this kernel has no such event, or tracing is not allowed.
    pub fn start(events: &[&str]) -> io::Result<Self> {
        let tracefs = Tracefs::open()?;
        let instance = tracefs.path().join("instances/pgstrobe-test");
        fs::create_dir(&instance)?;
        let events = events.iter().map(|event| instance.join("events").join(event).join("enable")).collect();
        let this = Self { instance, events, _tracefs: tracefs };
        this.switch("1")?;
        Ok(this)
    }

    fn switch(&self, to: &str) -> io::Result<()> {
        self.events.iter().try_for_each(|event| fs::write(event, to))
    }

    /// All so far.
    pub fn so_far(&self) -> Vec<TraceEvent> {
        let text = fs::read_to_string(self.instance.join("trace")).expect("the trace");
        text.lines().filter(|line| !line.starts_with('#')).filter_map(TraceEvent::parse).collect()
    }
}

impl Drop for TraceEvents {
    fn drop(&mut self) {
        let _ = self.switch("0");
        let _ = fs::remove_dir(&self.instance);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_an_event() {
        let line = "   a - [b]: c-812     [001] .....    70.123456: mm_vmscan_direct_reclaim_end: nr_reclaimed=32";
        assert_eq!(TraceEvent::parse(line).map(|event| event.pid), Some(812));
        let event =
            TraceEvent::parse("  postgres-7   [000] d..1. 1.5: name: order=0 nr_reclaimed=32").expect("an event");
        assert_eq!((event.pid, event.name.as_str(), event.number("nr_reclaimed")), (7, "name", Some(32)));
        assert_eq!(TraceEvent::parse("CPU:1 [LOST 5 EVENTS]"), None);
    }
}
