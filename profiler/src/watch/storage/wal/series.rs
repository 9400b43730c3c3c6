//! WAL over time, in a bounded number of steps.

use crate::{
    postgres::wal_usage::WalUsage,
    report::model::WalStep,
    time::{Span, Timeline},
};

/// Length of a step at first, in nanoseconds: two looks.
const STEP_NS: u64 = 200_000_000;
/// Steps of the series; when there are more, each two become one.
const STEPS: u64 = 300;

/// By when it was found to be written.
pub type Series = Timeline<WalUsage, STEP_NS, STEPS>;

/// As the report has it: the first step is what of it lies in the span.
pub fn model(series: &Series, span: Span) -> Vec<WalStep> {
    let step = |(began_ns, usage): (u64, Option<&WalUsage>)| {
        let end_ns = span.since_begin_ns(began_ns + series.step_ns());
        let began_ns = span.since_begin_ns(began_ns);
        let written = super::written(usage.unwrap_or(&WalUsage::default()));
        WalStep { began_ns, duration_ns: end_ns - began_ns, written }
    };
    series.steps().map(step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_grow_and_nothing_is_lost() {
        let mut series = Series::on(1_000);
        let one = WalUsage { records: 1, images: 0, bytes: 50 };
        for at in 0..10_000 {
            series.add(1_000 + at * 100_000_000, one);
        }
        let steps = model(&series, Span { from_ns: 1_000, to_ns: 0 });
        assert!(steps.len() as u64 <= STEPS && steps.len() as u64 > STEPS / 2, "{}", steps.len());
        assert_eq!(steps.iter().map(|step| step.written.records).sum::<u64>(), 10_000);
        assert_eq!(steps[1].began_ns, steps[0].duration_ns);
    }

    #[test]
    fn the_first_step_begins_with_the_interval() {
        let mut series = Series::on(0);
        [350_000_000, 450_000_000].into_iter().for_each(|at| series.add(at, WalUsage::default()));
        let steps = model(&series, Span { from_ns: 330_000_000, to_ns: 500_000_000 });
        let times: Vec<_> = steps.iter().map(|step| (step.began_ns, step.duration_ns)).collect();
        assert_eq!(times, [(0, 70_000_000), (70_000_000, 200_000_000)]);
    }
}
