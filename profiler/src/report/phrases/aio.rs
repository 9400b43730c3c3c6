//! What the io workers of PostgreSQL 18 spend their time on.

use crate::{
    report::model::{Ledger, Report, sum},
    vocabulary::{Cause, Role, State},
};

/// Shares of a time.
#[derive(Debug, PartialEq)]
pub(crate) struct WorkerTime {
    pub on_cpu: f64,
    pub runnable: f64,
    pub reading: f64,
    pub idle: f64,
}

/// What the io workers spent their time on, by their ledger.
pub(crate) fn worker_time(report: &Report) -> Option<WorkerTime> {
    let role = report.roles.iter().find(|role| role.role == Role::IoWorker)?;
    let ledgers: [&Ledger; 2] = [&role.ledger, &role.outside];
    let wall = sum(ledgers.iter().map(|ledger| ledger.wall_ns));
    let (mut cpu, mut runnable, mut reading, mut idle) = (0, 0, 0, 0);
    for part in ledgers.iter().flat_map(|ledger| &ledger.parts) {
        let account = match part.state.known() {
            Some(State::Cpu) => &mut cpu,
            Some(State::Runnable) => &mut runnable,
            Some(State::Blocked) if part.wait_event.as_deref() == Some("IoWorkerMain") => &mut idle,
            Some(State::Blocked) if part.cause() == Some(Cause::BlockRead) => &mut reading,
            _ => continue,
        };
        *account = sum([*account, part.ns]);
    }
    let share = |ns: u64| ns as f64 / wall.max(1) as f64;
    let time =
        || WorkerTime { on_cpu: share(cpu), runnable: share(runnable), reading: share(reading), idle: share(idle) };
    (wall > 0).then(time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;
    use crate::report::model;

    #[test]
    fn the_time_of_io_workers_is_that_of_their_ledger() {
        let mut report = fixture::idle();
        assert_eq!(worker_time(&report), None);
        let part = |state, event, cause, ns| fixture::part(state, event, cause, ns, 1);
        let outside = fixture::ledger(vec![
            part("blocked", "Activity:IoWorkerMain", Some("poll"), 100),
            part("blocked", "IO:DataFileRead", Some("block_read"), 600),
            part("cpu", "", None, 200),
            part("runnable", "", Some("woken"), 100),
        ]);
        report.roles.push(model::Role { role: Role::IoWorker.into(), outside, ..model::Role::default() });
        let time = WorkerTime { on_cpu: 0.2, runnable: 0.1, reading: 0.6, idle: 0.1 };
        assert_eq!(worker_time(&report), Some(time));
    }
}
