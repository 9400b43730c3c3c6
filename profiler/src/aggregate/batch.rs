//! Statements that come in batches, each counted once, whether its batch was sent or read from the backend's state.

use pgstrobe_common::record::{BATCH_LEN, Batch, Finished};

use super::Aggregate;

impl Aggregate {
    /// Statements that never slept, as the kernel side sent them: with the number of the batch.
    pub fn batch(&mut self, pid: u32, generation: u32, statements: &[Finished]) {
        let counted = match self.live.get(&pid) {
            Some(backend) if backend.counted.0 == generation => backend.counted.1,
            _ => 0,
        };
        self.statements_of(pid, generation, statements, counted);
    }

    /// A batch that was not sent when a report was due, as read from the backend's state. The batch itself, or a later
    /// one, may have come since.
    pub fn unsent(&mut self, pid: u32, batch: &Batch) {
        let Some(backend) = self.live.get(&pid) else { return };
        let (generation, counted) = backend.counted;
        if batch.head.generation >= generation {
            let statements = &batch.statements[..(batch.head.len as usize).min(BATCH_LEN)];
            let counted = if batch.head.generation == generation { counted } else { 0 };
            self.statements_of(pid, batch.head.generation, statements, counted);
        }
    }

    /// Counts the statements of a batch but the first `counted`, which a report has already.
    fn statements_of(&mut self, pid: u32, generation: u32, statements: &[Finished], counted: u32) {
        self.short_statements(pid, statements.get(counted as usize..).unwrap_or_default());
        if let Some(backend) = self.live.get_mut(&pid) {
            backend.counted = (generation, counted.max(statements.len() as u32));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use pgstrobe_common::record::{BatchHead, Header};

    use super::*;

    const PID: u32 = 7;

    fn batch(generation: u32, len: u32) -> Batch {
        let header = Header::of::<BatchHead>(0, PID, 0);
        let statements = [Finished { start_ns: 1, end_ns: 2, ..Finished::default() }; BATCH_LEN];
        Batch { head: BatchHead { header, generation, len }, statements }
    }

    fn sent(aggregate: &mut Aggregate, batch: &Batch) {
        aggregate.batch(PID, batch.head.generation, &batch.statements[..batch.head.len as usize]);
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
        sent(&mut aggregate, &batch(0, 8));
        assert_eq!(aggregate.statements(), 8);
        sent(&mut aggregate, &batch(1, 8));
        assert_eq!(aggregate.statements(), 16);
    }

    #[test]
    fn what_was_sent_since_it_was_read_is_counted_once() {
        let mut aggregate = aggregate();
        sent(&mut aggregate, &batch(0, 8));
        sent(&mut aggregate, &batch(1, 8));
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
        sent(&mut aggregate, &batch(5, 8));
        sent(&mut aggregate, &batch(0, 4));
        assert_eq!(aggregate.statements(), 12);
    }
}
