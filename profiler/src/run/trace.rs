//! `pgstrobe trace`: block requests one by one, until the time is over, Ctrl-C, or nobody reads any more.

use std::{
    io::ErrorKind,
    time::{Duration, Instant},
};

use anyhow::Result;

use super::{Stop, destinations, exit, say_attached, start, stream::Stream};
use crate::{
    cli::TraceArgs,
    report::{
        output,
        trace::{End, Line},
    },
    say::say,
    ticker::Ticker,
    words::{bytes, count, duration},
};

/// After Ctrl-C, how long a reader may take to take what is left.
const GRACE: Duration = Duration::from_secs(1);

pub fn run(args: &TraceArgs) -> Result<u8> {
    let outputs = destinations(&args.output, output::TRACE)?;
    let began = Instant::now();
    let mut watches = start(args.config())?;
    let attached = began.elapsed();
    let open = outputs.into_iter().map(Stream::open).collect::<Result<_, _>>()?;
    let mut streams = Streams { open, unwritten: false };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut stop = Stop::new()?;
        let mut ticker = Ticker::new(watches.drain_period())?;
        streams.add(&Line::Begin(watches.begin_trace()));
        say_attached(&watches, attached, "tracing", args.duration);
        let over = async {
            match args.duration {
                Some(duration) => tokio::time::sleep(duration).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(over);
        let mut requests = 0;
        let interrupted = loop {
            tokio::select! {
                biased;
                () = stop.asked() => break true,
                () = &mut over => break false,
                () = ticker.tick() => {}
            }
            for request in watches.trace() {
                requests += 1;
                streams.add(&Line::Request(request));
            }
            // While a reader is slow nothing is drained: what then finds no room is counted.
            tokio::select! {
                biased;
                () = stop.asked() => break true,
                () = &mut over => break false,
                () = streams.flush() => {}
            }
            if streams.open.is_empty() {
                return Ok(streams.code());
            }
        };
        for request in watches.trace() {
            requests += 1;
            streams.add(&Line::Request(request));
        }
        let end = watches.end_trace(requests);
        let lost: u64 = end.coverage.lost.values().sum();
        if !streams.open.iter().any(Stream::is_seen) {
            say(&sentence(&end, lost));
        }
        streams.add(&Line::End(Box::new(end)));
        let late = async {
            if interrupted {
                tokio::time::sleep(GRACE).await;
            } else {
                stop.asked().await;
            }
        };
        tokio::select! {
            biased;
            () = streams.flush() => {}
            () = late => streams.give_up(),
        }
        Ok(if lost > 0 && args.fail_on_loss && !streams.unwritten { exit::LOSS } else { streams.code() })
    })
}

/// The end in one line.
fn sentence(end: &End, lost: u64) -> String {
    let reasons = end.coverage.lost.iter().filter(|(_, n)| **n > 0);
    let reasons: Vec<String> = reasons.map(|(reason, n)| format!("{reason} {}", count(*n))).collect();
    let reasons = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) };
    format!("{} requests in {}; lost: {}{reasons}", count(end.requests), duration(end.duration_ns), count(lost))
}

/// All that is written to.
struct Streams {
    open: Vec<Stream>,
    /// At least one did not get all.
    unwritten: bool,
}

impl Streams {
    fn add(&mut self, line: &Line) {
        self.open.iter_mut().for_each(|stream| stream.add(line));
    }

    /// One that fails does not cost the others, and one whose reader has gone is no failure.
    async fn flush(&mut self) {
        let mut at = 0;
        while at < self.open.len() {
            let Err(error) = self.open[at].flush().await else {
                at += 1;
                continue;
            };
            let stream = self.open.remove(at);
            if error.kind() != ErrorKind::BrokenPipe {
                say(&stream.error(error).to_string());
                self.unwritten = true;
            }
        }
    }

    /// Says what was left because nobody took it.
    fn give_up(&self) {
        let left: usize = self.open.iter().map(Stream::left).sum();
        say(&format!("nobody takes the rest of the trace: {} are not written", bytes(left as u64)));
    }

    fn code(&self) -> u8 {
        if self.unwritten { exit::FAILURE } else { exit::DONE }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_in_one_line() {
        let mut end = End { duration_ns: 3_000_000_000, requests: 1234, ..End::default() };
        end.coverage.lost.insert("traced_requests_ring_full".into(), 0);
        assert_eq!(sentence(&end, 0), "1,234 requests in 3.00 s; lost: 0");
        end.coverage.lost.insert("traced_requests_ring_full".into(), 5);
        assert_eq!(sentence(&end, 5), "1,234 requests in 3.00 s; lost: 5 (traced_requests_ring_full 5)");
    }
}
