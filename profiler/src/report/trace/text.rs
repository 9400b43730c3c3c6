//! A trace for a terminal: a line each.

use super::{Begin, End, Line, Request};
use crate::{
    report::{
        pages::trace as pages,
        text::{TextOptions, draw, row},
    },
    words::clean,
};

/// Columns of the table as it comes: times and names of any length push aside what follows or are cut, the last one
/// takes what it needs.
const WIDTHS: [usize; 8] = [12, 9, 11, 12, 8, 7, 9, 0];

/// Writes a line of the trace as text, with its break.
pub fn line(line: &Line, options: &TextOptions) -> String {
    match line {
        Line::Begin(begin) => head(begin),
        Line::Request(request) => one(request),
        Line::End(end) => foot(end, options),
    }
}

fn head(begin: &Begin) -> String {
    let columns = pages::columns();
    let headings: Vec<String> = columns.columns.iter().map(|column| column.heading.into()).collect();
    let title: String = pages::begin(begin).items.iter().map(|item| item.value.to_string()).collect();
    format!("{}\n{}\n", clean(&title), row(&columns, &headings, &WIDTHS))
}

fn one(request: &Request) -> String {
    let words: Vec<String> = pages::row(request).iter().map(|cell| clean(&cell.to_string())).collect();
    row(&pages::columns(), &words, &WIDTHS) + "\n"
}

fn foot(end: &End, options: &TextOptions) -> String {
    draw(&pages::end(end), options)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        report::model::{BlockOwner, Coverage},
        vocabulary::{Operation, OwnerKind},
        words::width,
    };

    fn request() -> Request {
        Request {
            completed_ns: 1_234_567_890,
            device: "nvme0n1".into(),
            operation: Operation::Write.into(),
            flags: vec!["sync".into(), "fua".into()],
            sector: Some(2048),
            bytes: 8192,
            queue_ns: None,
            device_ns: Some(123_456),
            error: None,
            owner: BlockOwner {
                cluster: true,
                kind: OwnerKind::Backend.into(),
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
