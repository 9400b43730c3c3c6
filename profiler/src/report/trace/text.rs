//! A trace for a terminal: a line each.

use std::fmt::Write as _;

use super::{Begin, End, Line, Request};
use crate::{
    report::{
        model::Report,
        pages,
        phrases::block::who,
        text::{self, TextOptions},
    },
    words::{bytes, clean, count, duration, fit, width},
};

/// Columns of devices and operations, which have names of any length.
const DEVICE: usize = 9;
const OPERATION: usize = 11;

pub fn line(line: &Line, options: &TextOptions) -> String {
    match line {
        Line::Begin(begin) => head(begin),
        Line::Request(request) => one(request),
        Line::End(end) => foot(end, options),
    }
}

fn head(begin: &Begin) -> String {
    let port = begin.port.map_or("no port known".into(), |port| format!("port {port}"));
    let of = if begin.all { "of all" } else { "of the cluster" };
    let device = begin.device.as_ref().map_or("all devices".into(), |device| format!("device {device}"));
    let least = if begin.min_ns == 0 { String::new() } else { format!(", {} and longer", duration(begin.min_ns)) };
    let text = format!(
        "PostgreSQL {}, {port}, {}; requests {of}, {device}{least}; seconds since {}",
        begin.server_version, begin.data_directory, begin.started_at
    );
    let titles = columns("SECONDS", "DEVICE", "OPERATION", ["SECTOR", "BYTES", "QUEUED", "IN DEVICE"], "WHO");
    format!("{}\n{titles}\n", clean(&text))
}

fn columns(time: &str, device: &str, operation: &str, numbers: [&str; 4], who: &str) -> String {
    let [sector, bytes, queued, in_device] = numbers;
    let left = |text: &str, columns: usize| {
        let text = fit(text, columns);
        let gap = " ".repeat(columns - width(&text));
        text + &gap
    };
    let line = format!(
        "{time:>12}  {}  {}  {sector:>12}  {bytes:>8}  {queued:>7}  {in_device:>9}  {who}",
        left(device, DEVICE),
        left(operation, OPERATION)
    );
    line.trim_end().to_owned()
}

fn one(request: &Request) -> String {
    let time = |ns: Option<u64>| ns.map_or("-".into(), duration);
    let has = |flag: &str| request.flags.iter().any(|known| known == flag);
    let mut operation = request.operation.clone();
    for (flag, shown) in [("readahead", " ahead"), ("fua", " fua")] {
        if has(flag) {
            operation.push_str(shown);
        }
    }
    let mut who = who(&request.owner);
    if !request.owner.cluster && !["", "/"].contains(&request.owner.cgroup.as_str()) {
        let _ = write!(who, " in {}", request.owner.cgroup);
    }
    if let Some(error) = &request.error {
        let _ = write!(who, "; FAILED: {error}");
    }
    let numbers = [
        &request.sector.map_or("-".into(), |sector| sector.to_string()),
        &if request.bytes == 0 { "-".into() } else { bytes(request.bytes) },
        &time(request.queue_ns),
        &time(request.device_ns),
    ];
    let seconds = format!("{}.{:06}", request.completed_ns / 1_000_000_000, request.completed_ns / 1000 % 1_000_000);
    let numbers = numbers.map(String::as_str);
    columns(&seconds, &clean(&request.device), &operation, numbers, &clean(&who)) + "\n"
}

fn foot(end: &End, options: &TextOptions) -> String {
    let report = Report { duration_ns: end.duration_ns, coverage: end.coverage.clone(), ..Report::default() };
    format!(
        "{} requests in {}\n{}",
        count(end.requests),
        duration(end.duration_ns),
        text::draw(&pages::trust(&report), options)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::model::{BlockOwner, Coverage};

    fn request() -> Request {
        Request {
            completed_ns: 1_234_567_890,
            device: "nvme0n1".into(),
            operation: "write".into(),
            flags: vec!["sync".into(), "fua".into()],
            sector: Some(2048),
            bytes: 8192,
            queue_ns: None,
            device_ns: Some(123_456),
            error: None,
            owner: BlockOwner {
                cluster: true,
                kind: "backend".into(),
                name: "client backend".into(),
                pid: Some(4711),
                cgroup: "postgresql.service".into(),
            },
        }
    }

    #[test]
    fn one_line_each_under_its_title() {
        let begin = Begin { server_version: "15.1".into(), started_at: "T".into(), ..Begin::default() };
        let head = line(&Line::Begin(begin), &TextOptions::default());
        let titles = head.lines().nth(1).unwrap();
        let text = line(&Line::Request(request()), &TextOptions::default());
        assert_eq!(
            text,
            "    1.234567  nvme0n1    write fua            2048  8.00 KiB        -     123 µs  client backend (pid 4711)\n"
        );
        let end_of = |text: &str, part: &str| text.split_once(part).map(|(before, _)| width(before) + width(part));
        for (title, value) in
            [("SECONDS", "1.234567"), ("SECTOR", "2048"), ("BYTES", "8.00 KiB"), ("IN DEVICE", "123 µs")]
        {
            assert_eq!(end_of(titles, title), end_of(&text, value), "{title}");
        }
    }

    #[test]
    fn others_have_their_cgroup_and_nothing_harms_the_terminal() {
        let mut other = request();
        other.error = Some("Input/output error".into());
        other.owner = BlockOwner { name: "a\x1b[2J\n".into(), pid: Some(1), cgroup: "x.service".into(), ..other.owner };
        other.owner.cluster = false;
        let text = line(&Line::Request(other), &TextOptions::default());
        assert!(text.ends_with("a\\u{1b}[2J  (pid 1) in x.service; FAILED: Input/output error\n"), "{text}");
    }

    #[test]
    fn the_end_says_what_was_lost() {
        let mut coverage = Coverage::default();
        coverage.lost.insert("traced_requests_ring_full".into(), 12);
        coverage.notes.push("the postmaster ended".into());
        let end = End { duration_ns: 2_000_000_000, requests: 34, coverage };
        let text = line(&Line::End(Box::new(end)), &TextOptions::default());
        assert!(text.starts_with("34 requests in 2.00 s\nlost: 12 (traced_requests_ring_full 12)\ncost: "), "{text}");
        assert!(text.ends_with(" note: the postmaster ended\n"), "{text}");
    }
}
