//! The report as JSON: the contract `pgstrobe.report/1` (see [`super::model`]).

use std::io::Write;

use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter};

use super::document::Document;
use super::model::{Report, SCHEMA};
use crate::words::is_harmful;

/// Why a JSON text is not a report.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    #[error("not a pgstrobe report: {0}")]
    Syntax(#[from] serde_json::Error),
    #[error("this report says schema \"{0}\", and this pgstrobe reads \"{SCHEMA}\"")]
    Schema(String),
}

/// Writes the report, or those of all servers, indented, with a line break at the end.
///
/// # Errors
/// Those of the writer.
pub fn write(document: &Document, out: &mut dyn Write) -> std::io::Result<()> {
    match document {
        Document::One(report) => to_writer(report.as_ref(), out),
        Document::All(all) => to_writer(all.as_ref(), out),
    }
}

fn to_writer(report: &impl Serialize, out: &mut dyn Write) -> std::io::Result<()> {
    let mut serializer = serde_json::Serializer::with_formatter(&mut *out, Harmless(PrettyFormatter::new()));
    report.serialize(&mut serializer).map_err(std::io::Error::from)?;
    out.write_all(b"\n")
}

/// Writes a value on a line of its own.
///
/// # Errors
/// Those of the writer.
pub fn line_to_writer(value: &impl Serialize, out: &mut dyn Write) -> std::io::Result<()> {
    let mut serializer = serde_json::Serializer::with_formatter(&mut *out, HarmlessLine);
    value.serialize(&mut serializer).map_err(std::io::Error::from)?;
    out.write_all(b"\n")
}

/// JSON may go to a terminal too. serde_json escapes the control characters of ASCII but DEL; this escapes all others,
/// and characters that hide or turn text around. A reader gets the same text.
fn harmless<W: ?Sized + Write>(out: &mut W, fragment: &str) -> std::io::Result<()> {
    let mut rest = fragment;
    while let Some(at) = rest.find(is_harmful) {
        out.write_all(&rest.as_bytes()[..at])?;
        let Some(harmful) = rest[at..].chars().next() else { break };
        for unit in harmful.encode_utf16(&mut [0; 2]) {
            write!(out, "\\u{unit:04x}")?;
        }
        rest = &rest[at + harmful.len_utf8()..];
    }
    out.write_all(rest.as_bytes())
}

struct HarmlessLine;

impl Formatter for HarmlessLine {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, out: &mut W, fragment: &str) -> std::io::Result<()> {
        harmless(out, fragment)
    }
}

struct Harmless(PrettyFormatter<'static>);

impl Formatter for Harmless {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, out: &mut W, fragment: &str) -> std::io::Result<()> {
        harmless(out, fragment)
    }

    fn begin_array<W: ?Sized + Write>(&mut self, out: &mut W) -> std::io::Result<()> {
        self.0.begin_array(out)
    }

    fn end_array<W: ?Sized + Write>(&mut self, out: &mut W) -> std::io::Result<()> {
        self.0.end_array(out)
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> std::io::Result<()> {
        self.0.begin_array_value(out, first)
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, out: &mut W) -> std::io::Result<()> {
        self.0.end_array_value(out)
    }

    fn begin_object<W: ?Sized + Write>(&mut self, out: &mut W) -> std::io::Result<()> {
        self.0.begin_object(out)
    }

    fn end_object<W: ?Sized + Write>(&mut self, out: &mut W) -> std::io::Result<()> {
        self.0.end_object(out)
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> std::io::Result<()> {
        self.0.begin_object_key(out, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> std::io::Result<()> {
        self.0.begin_object_value(out)
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> std::io::Result<()> {
        self.0.end_object_value(out)
    }
}

/// Reads a report.
///
/// # Errors
/// When the text is not a report or is one of another schema.
pub fn from_str(text: &str) -> Result<Report, JsonError> {
    #[derive(serde::Deserialize)]
    struct Head {
        schema: String,
    }
    // First, so that a report of a later schema is named as such rather than by its first unknown field.
    let head: Head = serde_json::from_str(text)?;
    if head.schema != SCHEMA {
        return Err(JsonError::Schema(head.schema));
    }
    Ok(serde_json::from_str(text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        let report = crate::report::fixture::busy();
        let mut out = Vec::new();
        to_writer(&report, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.ends_with("}\n"));
        assert_eq!(from_str(&text).unwrap(), report);
    }

    #[test]
    fn nothing_in_it_harms_a_terminal() {
        let mut report = crate::report::fixture::busy();
        report.queries[0].query = "x\x1b[2J\u{7f}\u{9b}31m\u{202e}\"\\\n\u{e0041}é日".into();
        let mut out = Vec::new();
        to_writer(&report, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(!text.chars().any(|c| c != '\n' && is_harmful(c)));
        assert!(text.contains("\\u007f\\u009b31m\\u202e") && text.contains("\\udb40\\udc41é日"));
        assert_eq!(from_str(&text).unwrap(), report);
        let plain = crate::report::fixture::busy();
        let mut out = Vec::new();
        to_writer(&plain, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), serde_json::to_string_pretty(&plain).unwrap() + "\n");
    }

    #[test]
    fn refuses_what_is_no_report() {
        assert!(from_str("{").unwrap_err().to_string().contains("not a pgstrobe report"));
        let error = from_str(r#"{"schema":"pgstrobe.report/9"}"#).unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"this report says schema "pgstrobe.report/9", and this pgstrobe reads "pgstrobe.report/1""#
        );
    }

    #[test]
    fn fields_of_the_contract_are_there() {
        let value = serde_json::to_value(crate::report::fixture::busy()).unwrap();
        for path in [
            "/host/kernel",
            "/clusters/0/postmaster_pid",
            "/clusters/0/boundary",
            "/coverage/lost",
            "/coverage/overhead/run_ns",
            "/coverage/probes/0/hits",
            "/statements/latency/p999",
            "/statements/latency/hdr",
            "/statements/ledger/wall_ns",
            "/statements/ledger/parts/0/wait_event_type",
            "/backends/0/latency/count",
            "/queries/0/query_id",
            "/queries/2/worker_processes",
            "/queries/2/workers/parts/0/ns",
            "/queries/2/cpu_samples/IO:BufFileWrite",
            "/roles/0/cpu_samples/IO:BufFileRead",
            "/roles/0/startup_ledger/parts/0/ns",
            "/roles/0/idle_in_transaction/max_ns",
            "/backends/2/startup/wall_ns",
            "/backends/2/idle_in_transaction/total_ns",
            "/statements/ledger/parts/0/cause",
            "/statements/ledger/parts/0/p99_ns",
            "/tail/from_ns",
            "/tail/ledger/parts/0/ns",
            "/tail/rest_count",
            "/tail/rest/wall_ns",
            "/slowest/0/latency_ns",
            "/slowest/1/blocker/pid",
            "/slowest/0/ledger/parts/0/cause",
            "/blocking/0/wait_event",
            "/blocking/0/blocker/idle_in_transaction_ns",
            "/blocking/0/mode",
            "/blocking/0/waiting",
            "/blocking/1/chain/0",
            "/blocking/0/cycle",
            "/host/cpu/total_ns",
            "/host/cpu/steal_ns",
            "/host/cpu/cluster_ns",
            "/host/cpu/others/0/cgroup",
            "/fsync/by/0/file_kind",
            "/findings/0/id",
            "/findings/0/severity",
            "/findings/0/title",
            "/findings/0/evidence/0",
            "/findings/0/advice",
            "/findings/0/explained_ns",
            "/findings/0/confidence",
        ] {
            assert!(value.pointer(path).is_some(), "{path}");
        }
        assert!(value.pointer("/queries/0/query_id").unwrap().is_string());
        assert!(value.pointer("/queries/0/ledger/parts/0/p99_ns").is_none(), "only in the ledger of all statements");
    }
}
