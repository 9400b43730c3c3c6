//! The written contract: `docs/contract.md` is made of the model's types and their comments, so that no field is missing.

use serde_json::Value;

use super::{model::Report, trace};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/contract.md");

const HEAD: &str = "# Output contract

Made of the types in `profiler/src/report/model.rs` and `profiler/src/report/trace.rs`; do not edit it.

`pgstrobe report -o json` writes `pgstrobe.report/1`: one object, or with `--interval` one after the other. Names of fields are
part of the interface: they are added, never renamed or dropped, and so are the names that a field may have. A later version
may know more names; a reader takes those it does not know as they are. Every field has a default, so that a file of an
earlier version is read by a later one. Durations are in nanoseconds (`_ns`), sizes in bytes (`_bytes`), query ids are decimal
strings. Histograms hold values up to an hour with two significant digits; their `max` and `mean` are exact.
";

const TRACE: &str = "
# Trace contract

`pgstrobe trace -o json` writes `pgstrobe.trace/1` by the same rules: an object a line, whose `type` is `begin`, `request` or
`end`. A trace whose reader went away has no end.
";

/// A comment as Markdown in a cell of a table: links to items of the code are their names.
fn prose(schema: &Value) -> String {
    let mut text = schema["description"].as_str().unwrap_or_default().replace('\n', " ").replace('|', "\\|");
    while let Some(at) = text.find("](crate::") {
        let end = text[at..].find(')').map_or(text.len(), |end| at + end + 1);
        text.replace_range(at..end, "]");
    }
    text.replace("[`", "`").replace("`]", "`")
}

fn kind(schema: &Value) -> String {
    if let Some(of) = schema["$ref"].as_str() {
        let name = of.rsplit('/').next().unwrap_or_default();
        return format!("[{name}](#{})", name.to_lowercase());
    }
    if let Some(names) = schema["enum"].as_array() {
        let names: Vec<String> = names.iter().filter_map(Value::as_str).map(|name| format!("`{name}`")).collect();
        return names.join(", ");
    }
    if let Some(several) = schema["anyOf"].as_array() {
        let is_word = several.iter().any(|one| one["enum"].is_array());
        let mut of: Vec<String> = several.iter().filter(|one| !is_word || one["type"] != "string").map(kind).collect();
        of.dedup();
        return of.join(", or ");
    }
    match &schema["type"] {
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or "),
        Value::String(one) if one == "array" => format!("list of {}", kind(&schema["items"])),
        Value::String(one) if one == "object" && schema["additionalProperties"].is_object() => {
            format!("{} by name", kind(&schema["additionalProperties"]))
        }
        Value::String(one) => one.clone(),
        _ => "any".into(),
    }
}

/// A section of one type.
fn section(name: &str, schema: &Value, out: &mut String) {
    let Some(fields) = schema["properties"].as_object() else { return };
    out.push_str(&format!("\n## {name}\n\n"));
    let about = prose(schema);
    if !about.is_empty() {
        out.push_str(&format!("{about}\n\n"));
    }
    out.push_str("| field | type | meaning |\n|---|---|---|\n");
    for (field, of) in fields {
        out.push_str(&format!("| `{field}` | {} | {} |\n", kind(of), prose(of)));
    }
}

fn contract() -> String {
    let report = schemars::schema_for!(Report).to_value();
    let mut out = HEAD.to_owned();
    section("Report", &report, &mut out);
    for (name, schema) in report["$defs"].as_object().expect("types") {
        section(name, schema, &mut out);
    }
    out.push_str(TRACE);
    for (name, schema) in [
        ("begin", schemars::schema_for!(trace::Begin)),
        ("request", schemars::schema_for!(trace::Request)),
        ("end", schemars::schema_for!(trace::End)),
    ] {
        section(name, &schema.to_value(), &mut out);
    }
    out
}

/// `PGSTROBE_BLESS=1` writes it.
#[test]
fn the_written_contract_is_that_of_the_model() {
    let right = contract();
    if std::env::var_os("PGSTROBE_BLESS").is_some() {
        std::fs::write(PATH, &right).unwrap();
    }
    let written = std::fs::read_to_string(PATH).unwrap_or_default();
    assert!(written == right, "docs/contract.md is not that of the model: run this test with PGSTROBE_BLESS=1");
}
