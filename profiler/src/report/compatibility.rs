//! The contract over time: a report of an earlier version is read, shown, and loses nothing; a report of this version
//! has every field that one had.
//!
//! `fixtures/report-1.json` was written when the contract began to be held by these tests. It is never written again.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{document::Document, fixture, json, output::FORMATS, text::TextOptions};

const OLD: &str = include_str!("fixtures/report-1.json");

/// Objects whose names are data, such as reasons of losses.
const MAPS: [&str; 4] = ["lost", "cpu_samples", "syncs", "flushed_bytes"];

/// Every path of fields, such as `queries[].latency.p99`.
fn paths(at: &str, value: &Value, out: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            let is_map = MAPS.iter().any(|map| at.ends_with(&format!(".{map}")));
            for (name, value) in fields {
                let name = if is_map { "*" } else { name };
                paths(&format!("{at}.{name}"), value, out);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| paths(&format!("{at}[]"), value, out)),
        _ => {}
    }
    out.insert(at.to_owned());
}

/// Where `new` does not hold what `old` holds.
fn missing(at: &str, old: &Value, new: &Value, out: &mut Vec<String>) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            for (name, old) in old {
                missing(&format!("{at}.{name}"), old, new.get(name).unwrap_or(&Value::Null), out);
            }
        }
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            old.iter().zip(new).for_each(|(old, new)| missing(&format!("{at}[]"), old, new, out));
        }
        _ if old == new => {}
        _ => out.push(at.to_owned()),
    }
}

#[test]
fn an_old_report_is_read_whole() {
    let report = json::from_str(OLD).unwrap();
    let mut gone = Vec::new();
    missing("", &serde_json::from_str(OLD).unwrap(), &serde_json::to_value(&report).unwrap(), &mut gone);
    assert_eq!(gone, Vec::<String>::new());
    for format in FORMATS {
        let mut written = Vec::new();
        (format.write)(&Document::One(Box::new(report.clone())), &TextOptions::default(), &mut written).unwrap();
        assert!(!written.is_empty());
    }
}

#[test]
fn no_field_was_dropped_or_renamed() {
    let (mut old, mut new) = (BTreeSet::new(), BTreeSet::new());
    paths("", &serde_json::from_str(OLD).unwrap(), &mut old);
    paths("", &serde_json::to_value(fixture::busy()).unwrap(), &mut new);
    assert!(old.len() > 400, "{}", old.len());
    assert_eq!(old.difference(&new).collect::<Vec<_>>(), Vec::<&String>::new());
}

/// A file from before some fields were there.
#[test]
fn what_an_old_report_does_not_say_is_empty() {
    let report = json::from_str(r#"{"schema":"pgstrobe.report/1","host":{"cpus":2},"queries":[{"calls":3}]}"#).unwrap();
    assert_eq!((report.host.cpus, report.queries[0].calls, report.queries[0].latency.count), (2, 3, 0));
    assert_eq!(report.statements, Default::default());
}
