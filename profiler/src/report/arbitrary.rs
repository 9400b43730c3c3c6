//! Arbitrary values of the model, for property tests: any JSON that the schema of a type allows.
//!
//! A report is read from a file too, so its values are whatever somebody wrote there, and a combination that pgstrobe
//! itself never makes must not end in a panic.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Texts that are hard on a terminal, on a table, or on whoever takes them apart.
const STRINGS: &[&str] = &[
    "",
    "x",
    "\u{1b}[2J\u{202e}\u{0}",
    "日本語 é e\u{301} \u{200b}",
    "two\nlines\tand a tab\r",
    "pid 12 (UPDATE t) waits for Lock:tuple of pid 99999999999999999999",
    "SELECT o.id, o.placed_at, c.name, sum(l.price * l.quantity) FROM orders o JOIN customers c ON c.id = o.customer_id",
    "2026-03-01T03:12:45Z",
    "8:0",
    "(all)",
    "base/16384/16397.1",
    "pg_wal/000000010000000000000042",
    "HISTFAAAAC14nJNpmSzMwMDAxAABzFCaEUoz2X+AMIA9",
    "Lock",
    "LWLock",
    "IO",
    "Client",
    "relation",
    "transactionid",
    "DataFileRead",
    "WalSync",
    "ClientRead",
];

/// Words of the vocabulary, which rules and tables look for.
const WORDS: &[&str] = &[
    "cpu",
    "interrupted",
    "runnable",
    "blocked",
    "idle",
    "idle_in_transaction",
    "unattributed",
    "woken",
    "cpu_quota",
    "fsync",
    "block_read",
    "major_fault",
    "client backend",
    "parallel worker",
    "checkpointer",
    "io worker",
    "active",
    "waiting",
    "idle in transaction",
    "read",
    "write",
    "sync",
    "process",
    "backend",
    "wal",
    "temp",
    "main",
    "warning",
];

/// 104 days in nanoseconds, 8 PiB in bytes: no profile and no disk has more, and their sums are far from an overflow.
const MOST: u64 = 1 << 53;

/// A value of `T` that `seed` alone decides.
pub fn arbitrary<T: JsonSchema + DeserializeOwned>(seed: u64) -> T {
    let schema = schemars::schema_for!(T).to_value();
    let value = Source(seed).value(&schema, &schema);
    serde_json::from_value(value).expect("what the schema allows is read")
}

/// Numbers that look random (splitmix64).
struct Source(u64);

impl Source {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, most: u64) -> u64 {
        self.next() % most
    }

    fn one_of<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }

    fn value(&mut self, schema: &Value, root: &Value) -> Value {
        if let Some(name) = schema["$ref"].as_str() {
            let at = name.strip_prefix('#').expect("of the same document");
            return self.value(root.pointer(at).expect("defined"), root);
        }
        if let Some(names) = schema["enum"].as_array() {
            return self.one_of(names).clone();
        }
        for several in ["anyOf", "oneOf"] {
            if let Some(of) = schema[several].as_array() {
                let one = self.one_of(of);
                return self.value(one, root);
            }
        }
        let kind = match &schema["type"] {
            Value::Array(kinds) => self.one_of(kinds).as_str(),
            kind => kind.as_str(),
        };
        match kind.unwrap_or_else(|| panic!("no type in {schema}")) {
            "object" => self.object(schema, root),
            "array" => (0..self.below(4)).map(|_| self.value(&schema["items"], root)).collect(),
            "string" => json!(self.string()),
            "boolean" => json!(self.below(2) == 0),
            "number" => json!(*self.one_of(&[0.0, 0.25, 1.0, 12.5, 1_048_576.0, -1.0, (MOST as f64)])),
            "integer" => self.integer(schema["format"].as_str().unwrap_or_default()),
            "null" => Value::Null,
            other => panic!("type {other}"),
        }
    }

    /// Now and then without one of its fields, as a report of an earlier version.
    fn object(&mut self, schema: &Value, root: &Value) -> Value {
        let mut out = serde_json::Map::new();
        for (name, of) in schema["properties"].as_object().into_iter().flatten() {
            if self.below(20) != 0 {
                out.insert(name.clone(), self.value(of, root));
            }
        }
        if schema["additionalProperties"].is_object() {
            for _ in 0..self.below(4) {
                out.insert(self.string(), self.value(&schema["additionalProperties"], root));
            }
        }
        Value::Object(out)
    }

    fn string(&mut self) -> String {
        match self.below(40) {
            0 => "long ".repeat(200),
            1..12 => (*self.one_of(STRINGS)).into(),
            _ => (*self.one_of(WORDS)).into(),
        }
    }

    fn integer(&mut self, format: &str) -> Value {
        let most = match format {
            "uint16" => u64::from(u16::MAX),
            "uint32" => u64::from(u32::MAX),
            "uint64" | "int64" => MOST,
            other => panic!("format {other}"),
        };
        let bits = self.below(64);
        let n = *self.one_of(&[0, 1, most, most >> (bits % most.ilog2() as u64)]);
        match format {
            "int64" if self.below(2) == 0 => json!(-(n as i64)),
            _ => json!(n),
        }
    }
}
