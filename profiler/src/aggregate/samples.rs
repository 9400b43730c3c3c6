//! Samples of backends on a CPU, by the wait event they showed there: work such as the copy of a page into the page cache
//! is done under a wait event, without waiting.

use pgstrobe_common::{
    ledger::{SAMPLES, Sample},
    record::{Finished, STATEMENT_QUERY_ID},
};

use super::Aggregate;

impl Aggregate {
    /// What a timer saw of a statement that has just been counted.
    pub fn sampled(&mut self, pid: u32, finished: &Finished, samples: &[Sample; SAMPLES]) {
        if samples[0].count == 0 {
            return;
        }
        let text = self.texts.class(finished.class_key, finished.flags & STATEMENT_QUERY_ID != 0);
        let Some(backend) = self.live.get_mut(&pid) else { return };
        let query = self.queries.get_mut(&(text, backend.owner));
        for class in query.into_iter().chain([&mut backend.class, &mut self.total]) {
            for sample in samples.iter().filter(|sample| sample.count != 0) {
                *class.samples.entry(sample.wait_event_info).or_default() += sample.count as u64;
            }
        }
    }
}
