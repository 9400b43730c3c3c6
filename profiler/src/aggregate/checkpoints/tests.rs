//! Statements and files by the checkpoint they belong to.

use pgstrobe_common::record::Finished;

use super::*;

const MS: u64 = 1_000_000;

fn phases(start: u64, sync: u64, end: u64) -> Phases {
    Phases {
        start_ns: start * MS,
        write_ns: (start + 1) * MS,
        sync_ns: sync.saturating_mul(MS),
        sync_end_ns: end.saturating_mul(MS),
        end_ns: end.saturating_mul(MS),
    }
}

fn statement(aggregate: &mut Aggregate, start: u64, end: u64) {
    let finished = Finished { start_ns: start * MS, end_ns: end * MS, cpu_ns: MS, ..Finished::default() };
    aggregate.statement(7, &finished, None);
}

fn began(checkpoint: &Checkpoint) -> u64 {
    checkpoint.began_ns as u64
}

fn filled(aggregate: &Aggregate, starts: &[i64]) -> model::Wal {
    let checkpoint = |start: &i64| Checkpoint { began_ns: start * MS as i64, ..Checkpoint::default() };
    let mut wal = model::Wal { checkpoints: starts.iter().map(checkpoint).collect(), ..model::Wal::default() };
    aggregate.account.fill_checkpoints(aggregate.names(), &mut wal, began);
    wal
}

#[test]
fn a_statement_belongs_to_where_its_middle_lies() {
    let mut aggregate = Aggregate::new(15, "/data".into(), false);
    statement(&mut aggregate, 10, 20);
    aggregate.checkpoint(phases(100, u64::MAX, u64::MAX));
    statement(&mut aggregate, 96, 98);
    statement(&mut aggregate, 120, 130);
    aggregate.checkpoint(phases(100, 200, u64::MAX));
    statement(&mut aggregate, 180, 400);
    aggregate.checkpoint(phases(100, 200, 300));
    // Held up until just after the end, and one that only began in it.
    statement(&mut aggregate, 210, 310);
    statement(&mut aggregate, 290, 700);
    aggregate.checkpoint(phases(800, u64::MAX, u64::MAX));
    statement(&mut aggregate, 810, 812);
    // Of a batch that was open for long.
    statement(&mut aggregate, 110, 112);
    let wal = filled(&aggregate, &[100, 800]);
    assert_eq!([0, 1].map(|at| wal.checkpoints[at].statements.count), [4, 1]);
    let overlay = wal.overlay.unwrap();
    assert_eq!((overlay.during.count, overlay.outside.count), (5, 3));
    assert_eq!((overlay.write.count, overlay.sync.count), (3, 2));
    assert!(overlay.outside.max.abs_diff(410 * MS) < 4 * MS, "{}", overlay.outside.max);
    assert!((overlay.outside.mean - 422.0 / 3.0 * MS as f64).abs() < 1.0, "{}", overlay.outside.mean);
    assert_eq!(overlay.victims.len(), 0, "they are shorter during checkpoints");
}

#[test]
fn the_slowest_files_of_the_sync_phase() {
    let mut aggregate = Aggregate::new(15, "/data".into(), false);
    for n in 0..3_000 {
        aggregate.checkpoints.synced((210 + n % 80) * MS, n * 1_000, &format!("base/5/{n}"));
    }
    aggregate.checkpoints.synced(150 * MS, 90 * MS, "pg_wal/000000010000000000000001");
    aggregate.close_checkpoints();
    aggregate.checkpoint(phases(100, 200, u64::MAX));
    aggregate.close_checkpoints();
    assert!(filled(&aggregate, &[100]).checkpoints[0].slowest_files.is_empty(), "not ended");
    for n in 0..3_000 {
        aggregate.checkpoints.synced((210 + n % 80) * MS, n * 1_000, &format!("base/5/{n}"));
    }
    aggregate.checkpoint(phases(100, 200, 300));
    aggregate.close_checkpoints();
    let files = &filled(&aggregate, &[100]).checkpoints[0].slowest_files;
    assert_eq!(files.len(), FILES);
    assert_eq!((files[0].file.as_str(), files[0].sync_ns), ("base/5/2999", 2_999_000));
}

#[test]
fn one_that_is_heard_of_after_the_next_keeps_its_place() {
    let mut aggregate = Aggregate::new(15, "/data".into(), false);
    aggregate.checkpoints.synced(220 * MS, MS, "base/5/1");
    aggregate.checkpoint(phases(320, u64::MAX, u64::MAX));
    aggregate.checkpoint(phases(100, 200, 300));
    statement(&mut aggregate, 330, 332);
    aggregate.close_checkpoints();
    let wal = filled(&aggregate, &[100, 320]);
    assert_eq!(wal.checkpoints[0].slowest_files.len(), 1);
    assert_eq!([0, 1].map(|at| wal.checkpoints[at].statements.count), [0, 1]);
}

#[test]
fn a_bounded_number_is_kept_and_the_rest_counted() {
    let mut aggregate = Aggregate::new(15, "/data".into(), false);
    for n in 0..MAX_CHECKPOINTS as u64 + 10 {
        aggregate.checkpoint(phases(100 * n, 100 * n + 20, 100 * n + 40));
        statement(&mut aggregate, 100 * n + 10, 100 * n + 12);
    }
    assert_eq!(aggregate.account.folded.checkpoints, 10);
    assert_eq!(filled(&aggregate, &[]).overlay.unwrap().during.count, MAX_CHECKPOINTS as u64 + 10);
}
