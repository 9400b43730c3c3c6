//! What a profile writes: the report of one server, or those of all servers of a host (`pgstrobe.reports/1`).

use serde::{Deserialize, Serialize};

use super::model::{Host, HostCpu, Report};

/// Value of [`Reports::schema`].
pub const SCHEMA: &str = "pgstrobe.reports/1";

/// Reports of several servers, all of one stretch of time.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[serde(default)]
pub struct Reports {
    pub schema: String,
    pub version: String,
    /// RFC 3339, UTC.
    pub started_at: String,
    pub duration_ns: u64,
    /// As every report has it, but that no server's CPU time is taken out: [`HostCpu::cluster_ns`] is that of all of them.
    pub host: Host,
    /// One of each server that ran in this time, in the order in which they were found. Each is a whole `pgstrobe.report/1`.
    pub reports: Vec<Report>,
    /// Plain sentences on servers that could not be profiled, and why.
    pub notes: Vec<String>,
}

/// What is written at the end of a profile, or of an interval of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Document {
    One(Box<Report>),
    All(Box<Reports>),
}

impl Reports {
    pub fn new(started_at: String, duration_ns: u64, reports: Vec<Report>, notes: Vec<String>) -> Self {
        let mut host = reports.first().map(|report| report.host.clone()).unwrap_or_default();
        host.cpu = HostCpu {
            cluster_ns: reports.iter().map(|report| report.host.cpu.cluster_ns).sum(),
            others: Vec::new(),
            ..host.cpu
        };
        Self {
            schema: SCHEMA.into(),
            version: env!("CARGO_PKG_VERSION").into(),
            started_at,
            duration_ns,
            host,
            reports,
            notes,
        }
    }
}

impl Document {
    /// The reports in it.
    pub fn reports(&self) -> &[Report] {
        match self {
            Self::One(report) => std::slice::from_ref(report),
            Self::All(all) => &all.reports,
        }
    }

    /// Whether anything was lost.
    pub fn has_losses(&self) -> bool {
        self.reports().iter().any(|report| report.coverage.lost.values().any(|n| *n > 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{fixture, json};

    fn two() -> Document {
        let mut other = fixture::idle();
        other.clusters[0].port = Some(5433);
        let notes = vec!["the server with the postmaster 7 (port 5434) is not profiled: no".to_owned()];
        Document::All(Box::new(Reports::new("2026-11-27T11:05:20.516Z".into(), 7, vec![fixture::busy(), other], notes)))
    }

    #[test]
    fn one_server_is_a_report_and_several_are_reports() {
        let written = |document: &Document| {
            let mut out = Vec::new();
            json::write(document, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        let one = written(&Document::One(Box::new(fixture::busy())));
        assert_eq!(json::from_str(&one).unwrap(), fixture::busy());
        let all: Reports = serde_json::from_str(&written(&two())).unwrap();
        assert_eq!(Document::All(Box::new(all.clone())), two());
        assert_eq!((all.schema.as_str(), all.reports.len()), (SCHEMA, 2));
        assert_eq!(
            serde_json::to_value(&all.reports[0]).unwrap(),
            serde_json::from_str::<serde_json::Value>(&one).unwrap()
        );
        assert_eq!(all.host.cpu.cluster_ns, all.reports.iter().map(|report| report.host.cpu.cluster_ns).sum::<u64>());
    }

    #[test]
    fn a_loss_in_any_of_them_counts() {
        let Document::All(mut all) = two() else { panic!("several") };
        for report in &mut all.reports {
            report.coverage.lost.values_mut().for_each(|n| *n = 0);
        }
        assert!(!Document::All(all.clone()).has_losses());
        all.reports[1].coverage.lost.insert("ring_buffer_full".into(), 1);
        assert!(Document::All(all).has_losses());
    }
}
