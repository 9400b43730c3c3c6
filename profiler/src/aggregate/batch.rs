//! Statements that come in batches, each counted once, whether its batch was sent or read from the backend's state.

use pgstrobe_common::record::{BATCH_LEN, Batch};

use super::Aggregate;

impl Aggregate {
    /// Statements that never slept, as the kernel side sent them.
    pub fn batch(&mut self, batch: &Batch) {
        let pid = batch.header.pid;
        let counted = match self.live.get(&pid) {
            Some(backend) if backend.counted.0 == batch.generation => backend.counted.1,
            _ => 0,
        };
        self.statements_of(pid, batch, counted);
    }

    /// A batch that was not sent when a report was due, as read from the backend's state. The batch itself, or a later
    /// one, may have come since.
    pub fn unsent(&mut self, pid: u32, batch: &Batch) {
        let Some(backend) = self.live.get(&pid) else { return };
        let (generation, counted) = backend.counted;
        if batch.generation >= generation {
            self.statements_of(pid, batch, if batch.generation == generation { counted } else { 0 });
        }
    }

    /// Counts the statements of a batch but the first `counted`, which a report has already.
    fn statements_of(&mut self, pid: u32, batch: &Batch, counted: u32) {
        let len = (batch.len as usize).min(BATCH_LEN);
        self.short_statements(pid, batch.statements[..len].get(counted as usize..).unwrap_or_default());
        if let Some(backend) = self.live.get_mut(&pid) {
            backend.counted = (batch.generation, counted.max(len as u32));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use pgstrobe_common::record::{Finished, Header, KIND_BATCH};

    use super::*;

    const PID: u32 = 7;

    fn batch(generation: u32, len: u32) -> Batch {
        let header = Header { kind: KIND_BATCH, pid: PID, ts_ns: 0 };
        let statements = [Finished { start_ns: 1, end_ns: 2, ..Finished::default() }; BATCH_LEN];
        Batch { header, generation, len, statements }
    }

    fn aggregate() -> Aggregate {
        let mut aggregate = Aggregate::new(15, PathBuf::new(), false);
        aggregate.appear(PID, None);
        aggregate
    }

    #[test]
    fn a_statement_of_a_report_is_not_counted_again_with_its_batch() {
        let mut aggregate = aggregate();
        aggregate.unsent(PID, &batch(0, 3));
        assert_eq!(aggregate.statements(), 3);
        aggregate.unsent(PID, &batch(0, 5));
        assert_eq!(aggregate.statements(), 5);
        aggregate.batch(&batch(0, 8));
        assert_eq!(aggregate.statements(), 8);
        aggregate.batch(&batch(1, 8));
        assert_eq!(aggregate.statements(), 16);
    }

    #[test]
    fn what_was_sent_since_it_was_read_is_counted_once() {
        let mut aggregate = aggregate();
        aggregate.batch(&batch(0, 8));
        aggregate.batch(&batch(1, 8));
        // Read before both were sent, and before the second was full.
        aggregate.unsent(PID, &batch(0, 2));
        aggregate.unsent(PID, &batch(1, 7));
        assert_eq!(aggregate.statements(), 16);
        aggregate.unsent(PID, &batch(2, 1));
        assert_eq!(aggregate.statements(), 17);
    }

    #[test]
    fn another_process_of_the_same_pid_begins_anew() {
        let mut aggregate = aggregate();
        aggregate.batch(&batch(5, 8));
        aggregate.batch(&batch(0, 4));
        assert_eq!(aggregate.statements(), 12);
    }
}
