//! Statements by function entry (`--boundary uprobe`): splits what the socket shows as one exchange.

use pgstrobe_common::hits::Hit;

use super::{Hook, Level, Point, Probe, Way};

pub static PROBE: Probe = Probe {
    name: "statement-entry",
    help: "statements begin and split at the entry of the server's message functions (--boundary uprobe)",
    level: Level::Detail,
    unit: "ns",
    labels: &["statement class"],
    essential: false,
    ways: &[
        Way {
            name: "functions",
            hooks: &[
                Hook { program: "entry_simple", point: Point::Server("exec_simple_query") },
                Hook { program: "entry_parse", point: Point::Server("exec_parse_message") },
                Hook { program: "entry_bind", point: Point::Server("exec_bind_message") },
                Hook { program: "entry_execute", point: Point::Server("exec_execute_message") },
            ],
            loses: "",
        },
        Way {
            name: "usdt",
            hooks: &[
                Hook { program: "entry_simple", point: Point::Server("usdt:query__start") },
                Hook { program: "entry_parse", point: Point::Server("usdt:query__parse__start") },
                Hook { program: "entry_execute", point: Point::Server("usdt:query__execute__start") },
            ],
            loses: "the Bind of a prepared statement lies before its start",
        },
        Way {
            name: "activity",
            hooks: &[Hook { program: "entry_activity", point: Point::Server("pgstat_report_activity") }],
            loses: "statements of a pipeline are not split",
        },
    ],
    without: "statements are taken from the client's socket",
    hit_kinds: &[Hit::Entry],
    exercise: None,
};
