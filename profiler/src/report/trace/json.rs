//! A trace as JSON, a line each.

use std::io::Write;

use super::Line;
use crate::report::json;

/// Writes a line with its break.
///
/// # Errors
/// Those of the writer.
pub fn line(line: &Line, out: &mut dyn Write) -> std::io::Result<()> {
    json::line_to_writer(line, out)
}

#[cfg(test)]
mod tests {
    use super::super::{Begin, End, Request};
    use super::*;
    use crate::report::model::BlockOwner;
    use crate::vocabulary::Operation;

    fn written(value: &Line) -> String {
        let mut out = Vec::new();
        line(value, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn reads_what_it_writes_and_each_has_its_type() {
        let owner = BlockOwner { name: "a\u{202e}b\n".into(), pid: Some(7), ..BlockOwner::default() };
        let request = Request { operation: Operation::Read.into(), sector: Some(8), owner, ..Request::default() };
        let lines = [Line::Begin(Begin::default()), Line::Request(request), Line::End(Box::default())];
        for (value, kind) in lines.iter().zip(["begin", "request", "end"]) {
            let text = written(value);
            assert_eq!(text.find('\n'), Some(text.len() - 1), "{text}");
            assert!(text.starts_with(&format!("{{\"type\":\"{kind}\",")), "{text}");
            assert!(!text.contains('\u{202e}'));
            assert_eq!(&serde_json::from_str::<Line>(&text).unwrap(), value);
        }
    }

    #[test]
    fn fields_of_the_contract_are_there() {
        let value = serde_json::to_value(Line::Request(Request::default())).unwrap();
        for name in [
            "completed_ns",
            "device",
            "operation",
            "flags",
            "sector",
            "bytes",
            "queue_ns",
            "device_ns",
            "error",
            "cluster",
            "kind",
            "name",
            "pid",
            "cgroup",
        ] {
            assert!(value.get(name).is_some(), "{name}");
        }
        let value = serde_json::to_value(Line::Begin(Begin::default())).unwrap();
        for name in ["schema", "started_at", "postmaster_pid", "data_directory", "all", "device", "min_ns"] {
            assert!(value.get(name).is_some(), "{name}");
        }
        let value = serde_json::to_value(Line::End(Box::<End>::default())).unwrap();
        for path in ["/duration_ns", "/requests", "/coverage/lost", "/coverage/overhead/run_ns", "/coverage/notes"] {
            assert!(value.pointer(path).is_some(), "{path}");
        }
    }
}
