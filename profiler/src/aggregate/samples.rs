//! Samples of backends on a CPU, by the wait event they showed there: work such as the copy of a page into the page cache
//! is done under a wait event, without waiting.

use pgstrobe_common::{
    ledger::{SAMPLES, Sample},
    record::Finished,
};

use super::Aggregate;

impl Aggregate {
    /// What a timer saw of a statement that has just been counted.
    pub fn sampled(&mut self, pid: u32, finished: &Finished, samples: &[Sample; SAMPLES]) {
        if samples[0].count == 0 {
            return;
        }
        let Some(backend) = self.live.get_mut(&pid) else { return };
        let queries = &mut self.account.queries;
        let place = queries.place(backend.owner, &mut backend.last_class, finished, &mut self.texts);
        for class in [&mut queries.at(place).class, &mut backend.process.class] {
            for sample in samples.iter().filter(|sample| sample.count != 0) {
                *class.samples.entry(sample.wait_event_info).or_default() += sample.count as u64;
            }
        }
    }
}
