//! The report as JSON: the contract `pgstrobe.report/1` (see [`super::model`]).

use std::io::Write;

use super::model::{Report, SCHEMA};

/// Why a JSON text is not a report.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    #[error("not a pgstrobe report: {0}")]
    Syntax(#[from] serde_json::Error),
    #[error("this report says schema \"{0}\", and this pgstrobe reads \"{SCHEMA}\"")]
    Schema(String),
}

/// Writes the report, indented, with a line break at the end.
///
/// # Errors
/// Those of the writer.
pub fn to_writer(report: &Report, out: &mut dyn Write) -> std::io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, report).map_err(std::io::Error::from)?;
    out.write_all(b"\n")
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
            "/fsync/by/0/file_kind",
            "/findings",
        ] {
            assert!(value.pointer(path).is_some(), "{path}");
        }
        assert!(value.pointer("/queries/0/query_id").unwrap().is_string());
    }
}
