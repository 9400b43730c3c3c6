//! Any report, whoever wrote it, is judged and shown in every format: no panic, and nothing in it changes on the way.

use proptest::prelude::*;

use super::{
    arbitrary::arbitrary,
    document::Document,
    json,
    model::Report,
    output::FORMATS,
    text::TextOptions,
    trace::{self, Line},
};

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn any_report(seed in any::<u64>(), width in 0usize..300, top in 0usize..20) {
        let mut report: Report = arbitrary(seed);
        report.schema = super::model::SCHEMA.into();
        report.findings.extend(crate::findings::evaluate(&report));
        let options = TextOptions { top, width, colour: seed % 2 == 0 };
        let document = Document::One(Box::new(report.clone()));
        for format in FORMATS {
            (format.write)(&document, &options, &mut std::io::sink()).unwrap();
        }
        let mut written = Vec::new();
        json::write(&document, &mut written).unwrap();
        let read = json::from_str(std::str::from_utf8(&written).unwrap()).unwrap();
        prop_assert_eq!(read, report);
    }

    #[test]
    fn any_trace(seed in any::<u64>(), width in 0usize..300) {
        let options = TextOptions { top: 1, width, colour: seed % 2 == 0 };
        for line in [Line::Begin(arbitrary(seed)), Line::Request(arbitrary(seed)), Line::End(arbitrary(seed))] {
            trace::text::line(&line, &options);
            let mut written = Vec::new();
            trace::json::line(&line, &mut written).unwrap();
            prop_assert_eq!(serde_json::from_slice::<Line>(&written).unwrap(), line);
        }
    }
}
