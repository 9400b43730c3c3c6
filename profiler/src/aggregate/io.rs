//! Reads and writes of statements, by class of file.
//!
//! They come in a record of their own, before that of the statement, which need not be sent yet. A parallel worker's come
//! with its exit, and go to the statement of its leader as its time does.

use pgstrobe_common::{
    files::{
        CLASS_OTHER, CLASS_RELATION, CLASS_TEMP, CLASS_WAL, CLASSES, ClassIo, IO_OF_PROCESS, StatementIo as Record,
    },
    record::Finished,
};

use serde::{Deserialize, Serialize};

use super::{Aggregate, known};
use crate::report::model;

/// Sums by class of file.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Io([ClassIo; CLASSES]);

/// Adds one to another, where there is any.
pub(super) fn merge(into: &mut Option<Box<Io>>, from: &Option<Box<Io>>) {
    if let Some(from) = from {
        into.get_or_insert_default().add(&from.0);
    }
}

impl Io {
    fn add(&mut self, other: &[ClassIo; CLASSES]) {
        self.0.iter_mut().zip(other).for_each(|(sum, other)| sum.add(other));
    }

    pub fn model(&self) -> model::StatementIo {
        let class = |class: u32| {
            let io = &self.0[class as usize];
            model::ClassIo {
                reads: io.reads,
                read_bytes: io.read_bytes,
                read_ns: io.read_ns,
                device_reads: io.device_reads,
                device_read_bytes: io.device_read_bytes,
                writes: io.writes,
                write_bytes: io.write_bytes,
                write_ns: io.write_ns,
                read_before_write_bytes: io.reading_write_bytes,
                extend_bytes: io.extend_bytes,
            }
        };
        model::StatementIo {
            relation: class(CLASS_RELATION),
            temp: class(CLASS_TEMP),
            wal: class(CLASS_WAL),
            other: class(CLASS_OTHER),
        }
    }
}

impl Aggregate {
    /// What a statement, or a process without a client, read and wrote.
    pub fn io(&mut self, record: &Record) {
        let pid = record.header.pid;
        let backend = known(&mut self.live, &mut self.serial, pid);
        if record.flags & IO_OF_PROCESS != 0 {
            backend.process_io.get_or_insert_default().add(&record.io);
            return;
        }
        let class = Finished { class_key: record.class_key, flags: record.flags, ..Finished::default() };
        let queries = &mut self.account.queries;
        let place = queries.place(backend.owner, &mut backend.last_class, &class, &mut self.texts);
        queries.at(place).io.get_or_insert_default().add(&record.io);
    }
}

#[cfg(test)]
mod tests {
    use pgstrobe_common::record::{Exit, Header, STATEMENT_QUERY_ID};

    use super::*;
    use crate::{
        postgres::backend::{Identity, Role},
        report::model::Report,
    };

    const CLIENT: u32 = 7;
    const WORKER: u32 = 8;

    fn io(pid: u32, class_key: u64, flags: u32, read_bytes: u64) -> Record {
        let mut record = Record { header: Header { pid, ..Header::default() }, class_key, flags, ..Record::default() };
        record.io[CLASS_TEMP as usize] = ClassIo { reads: 1, read_bytes, ..ClassIo::default() };
        record
    }

    fn read_bytes(aggregate: &Aggregate) -> Vec<(String, u64)> {
        let mut report = Report::default();
        aggregate.fill(&mut report);
        let mut rows: Vec<_> = report.queries.iter().map(|q| (q.query_id.clone(), q.io.temp.read_bytes)).collect();
        rows.sort();
        rows
    }

    #[test]
    fn belongs_to_the_class_of_its_statement_and_of_the_leader() {
        let mut aggregate = Aggregate::new(15, "/data".into(), false);
        aggregate.appear(CLIENT, None);
        aggregate.identify(CLIENT, Identity::of(Role::ClientBackend));
        aggregate.appear(WORKER, None);
        aggregate.identify(WORKER, Identity { leader: Some(CLIENT), ..Identity::of(Role::ParallelWorker) });
        aggregate.io(&io(WORKER, 0, IO_OF_PROCESS, 50));
        aggregate.ends(WORKER, 150);
        aggregate.exit(&Exit { header: Header { pid: WORKER, ..Header::default() }, ..Exit::default() });
        for (class_key, start_ns, bytes) in [(1, 100, 20), (2, 210, 300)] {
            aggregate.io(&io(CLIENT, class_key, STATEMENT_QUERY_ID, bytes));
            let flags = STATEMENT_QUERY_ID;
            let finished = Finished { start_ns, end_ns: start_ns + 100, class_key, flags, ..Finished::default() };
            aggregate.statement(CLIENT, &finished, None);
        }
        assert_eq!(read_bytes(&aggregate), [("1".to_owned(), 70), ("2".to_owned(), 300)]);
        aggregate.forget();
        assert_eq!(read_bytes(&aggregate), []);
    }
}
