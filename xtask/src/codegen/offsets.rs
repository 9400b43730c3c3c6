//! Offsets and enum values of one version, and `layout/tables.rs` made of them.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use pgstrobe_common::fields::{PG_FIELDS, USER_FIELDS};

use super::{Structs, Version, bindings};
use xtask::packages::{self, Package, run};

/// What was asked, and its value where the version has it.
pub type Values = BTreeMap<String, u64>;

/// One question: its name and the ways to ask it, the first that compiles counts.
pub struct Item {
    pub name: &'static str,
    pub ways: Vec<Way>,
}

pub enum Way {
    Offset { of: &'static str, path: &'static str },
    Size { of: &'static str },
    Value { of: &'static str, name: &'static str },
}

/// Enum values, with the enum they are of (utils/backend_status.h, pgstat.h in 13; miscadmin.h).
const VALUES: &[(&str, &str, &str)] = &[
    ("state_undefined", "BackendState", "STATE_UNDEFINED"),
    ("state_starting", "BackendState", "STATE_STARTING"),
    ("state_idle", "BackendState", "STATE_IDLE"),
    ("state_running", "BackendState", "STATE_RUNNING"),
    ("state_idle_in_transaction", "BackendState", "STATE_IDLEINTRANSACTION"),
    ("state_fastpath", "BackendState", "STATE_FASTPATH"),
    ("state_idle_in_transaction_aborted", "BackendState", "STATE_IDLEINTRANSACTION_ABORTED"),
    ("state_disabled", "BackendState", "STATE_DISABLED"),
    ("backend_type_client", "BackendType", "B_BACKEND"),
    ("backend_type_walsender", "BackendType", "B_WAL_SENDER"),
    ("aio_submitted", "PgAioHandleState", "PGAIO_HS_SUBMITTED"),
    ("aio_worker", "IoMethod", "IOMETHOD_WORKER"),
    ("aio_uring", "IoMethod", "IOMETHOD_IO_URING"),
];

/// Sizes, with the type they are of.
const SIZES: &[(&str, &str)] = &[
    ("status_size", "PgBackendStatus"),
    ("buffer_size", "BufferDescPadded"),
    ("aio_backend_size", "PgAioBackend"),
    ("aio_handle_size", "PgAioHandle"),
];

/// The values above that are new: absent before the version that brought them.
const OPTIONAL: [&str; 6] =
    ["state_starting", "aio_backend_size", "aio_handle_size", "aio_submitted", "aio_worker", "aio_uring"];

/// Libraries whose headers the server headers include and whose types they use behind pointers only.
const STUBS: &[(&str, &str)] = &[
    ("openssl/ssl.h", "typedef struct ssl_st SSL; typedef struct x509_st X509; typedef struct ssl_ctx_st SSL_CTX;"),
    ("openssl/err.h", ""),
    (
        "gssapi/gssapi.h",
        "typedef struct { size_t length; void *value; } gss_buffer_desc; typedef gss_buffer_desc *gss_buffer_t;\n\
         typedef struct gss_stub *gss_ctx_id_t, *gss_cred_id_t, *gss_name_t, *gss_OID; typedef unsigned OM_uint32;",
    ),
    ("gssapi/gssapi_ext.h", ""),
];

fn items() -> Vec<Item> {
    let mut items: Vec<Item> = PG_FIELDS
        .iter()
        .chain(USER_FIELDS)
        .map(|field| Item {
            name: field.name,
            ways: field.paths.iter().map(|path| Way::Offset { of: field.of, path }).collect(),
        })
        .collect();
    items.extend(SIZES.iter().map(|&(name, of)| Item { name, ways: vec![Way::Size { of }] }));
    items.extend(VALUES.iter().map(|&(name, of, value)| Item { name, ways: vec![Way::Value { of, name: value }] }));
    items
}

/// The text of `layout/tables.rs`.
pub fn generate(versions: &[Version]) -> Result<String> {
    let items = items();
    let mut made: BTreeMap<u32, (Values, String)> = BTreeMap::new();
    // Versions with headers first: the others may lean on them.
    let with_headers = |version: &&Version| matches!(version.structs, Structs::Headers(..));
    for version in versions.iter().filter(with_headers).chain(versions.iter().filter(|version| !with_headers(version)))
    {
        let facts = match &version.structs {
            Structs::Headers(pin, include) => {
                let Package { dir, version } = packages::fetch(pin)?;
                let values = from_headers(&dir.join(include), &items)?;
                let config = fs::read_to_string(dir.join(include).join("pg_config.h"))?;
                (values, format!("the server headers of {} in {} {version}", minor(&config), pin.name))
            }
            Structs::Bindings { pin, file, port } => {
                let Package { dir, version } = packages::fetch(pin)?;
                let text = fs::read_to_string(dir.join(file))?;
                let mut values = bindings::values(&text, &items)?;
                for field in PG_FIELDS.iter().filter(|field| field.of == "Port") {
                    let [before, after] = port.map(|major| made[&major].0.get(field.name));
                    ensure!(before == after, "Port of {port:?} differ: {} must be read elsewhere", version);
                    values.extend(before.map(|offset| (field.name.to_string(), *offset)));
                }
                let source = format!(
                    "bindings of the headers of {} in {} {version}; Port is that of {} and {}, which agree",
                    minor(&text),
                    pin.name,
                    port[0],
                    port[1]
                );
                (values, source)
            }
        };
        made.insert(version.major, facts);
    }
    let mut text = String::from(
        "//! Generated by `cargo xtask codegen`: do not edit.\n//!\n\
         //! Equal on x86-64 and aarch64 (LP64). Options of the build do not move these fields: PgBackendStatus holds\n\
         //! SSL and GSSAPI state behind pointers that are always there, and what is conditional in Port comes later.\n\n\
         use pgstrobe_common::fields::{ABSENT, PgFields, UserFields};\n\nuse super::Layout;\n",
    );
    for (major, (values, source)) in &made {
        writeln!(text, "\n/// From {source}.\npub static V{major}: Layout = Layout {{\n    major: {major},")?;
        for (head, fields) in [("fields: PgFields", PG_FIELDS), ("user: UserFields", USER_FIELDS)] {
            writeln!(text, "    {head} {{")?;
            for field in fields {
                match values.get(field.name) {
                    Some(offset) => writeln!(text, "        {}: {offset},", field.name)?,
                    None => writeln!(text, "        {}: ABSENT,", field.name)?,
                }
            }
            text.push_str("    },\n");
        }
        for name in SIZES.iter().map(|&(name, _)| name).chain(VALUES.iter().map(|&(name, ..)| name)) {
            let value = values.get(name);
            match OPTIONAL.contains(&name) {
                true => writeln!(text, "    {name}: {value:?},")?,
                false => {
                    let value = value.with_context(|| format!("{major} has no {name}"))?;
                    writeln!(text, "    {name}: {value},")?;
                }
            }
        }
        text.push_str("};\n");
    }
    Ok(text)
}

/// The version that a pg_config.h, or bindings made of it, states as a string.
fn minor(text: &str) -> &str {
    let line = text.lines().find(|line| line.contains("PG_VERSION ") || line.contains("PG_VERSION:"));
    line.and_then(|line| line.split('"').nth(1)).and_then(|version| version.split(' ').next()).unwrap_or("?")
}

/// Compiles the questions against a directory of headers and runs the result.
fn from_headers(include: &Path, items: &[Item]) -> Result<Values> {
    let scratch = tempfile::tempdir()?;
    for (file, text) in STUBS {
        let file = scratch.path().join(file);
        fs::create_dir_all(file.parent().context("a stub without a directory")?)?;
        fs::write(file, text)?;
    }
    let (source, program) = (scratch.path().join("offsets.c"), scratch.path().join("offsets"));
    // One question a line, so that the compiler names those that this version cannot answer.
    let mut lines: Vec<(&str, String)> = Vec::new();
    for item in items {
        lines.extend(item.ways.iter().map(|way| (item.name, way.in_c())));
    }
    loop {
        let body: Vec<String> = lines.iter().map(|(name, way)| format!("\tITEM(\"{name}\", {way});")).collect();
        fs::write(&source, include_str!("offsets.c").replace("@ITEMS@", &body.join("\n")))?;
        let mut cc = Command::new("cc");
        cc.args(["-D_GNU_SOURCE", "-w", "-I"]).arg(include).arg("-I").arg(scratch.path());
        let output = cc.arg("-o").arg(&program).arg(&source).output().context("running cc")?;
        if output.status.success() {
            break;
        }
        let messages = String::from_utf8_lossy(&output.stderr).into_owned();
        let refused = refused(&messages);
        ensure!(!refused.is_empty(), "{} does not compile:\n{messages}", include.display());
        let mut line = 0;
        lines.retain(|_| {
            line += 1;
            !refused.contains(&line)
        });
    }
    read_values(&run(&mut Command::new(&program))?)
}

/// The numbers of the lines of `items` that have an error.
fn refused(messages: &str) -> Vec<usize> {
    let errors = messages.lines().filter(|line| line.contains("error:"));
    errors.filter_map(|line| line.strip_prefix("items:")?.split(':').next()?.parse().ok()).collect()
}

/// Lines of a name and a value; the first answer to a question counts.
pub fn read_values(output: &str) -> Result<Values> {
    let mut values = Values::new();
    for line in output.lines() {
        let (name, value) = line.split_once(' ').with_context(|| format!("not an answer: {line}"))?;
        values.entry(name.to_string()).or_insert(value.parse()?);
    }
    Ok(values)
}

impl Way {
    fn in_c(&self) -> String {
        match self {
            Self::Offset { of, path } => format!("offsetof({of}, {path})"),
            Self::Size { of } => format!("sizeof({of})"),
            Self::Value { name, .. } => (*name).to_string(),
        }
    }
}
