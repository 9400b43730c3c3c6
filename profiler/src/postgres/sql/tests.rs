//! The law of the module under test: no literal may survive, whatever the text and wherever it is cut.

use super::*;

fn text(sql: &str) -> String {
    normalize(sql, false).text
}

fn class(sql: &str) -> u64 {
    normalize(sql, false).fingerprint.unwrap_or_else(|| panic!("unparsable: {sql}"))
}

#[test]
fn constants_become_parameters() {
    assert_eq!(text("SELECT * FROM t WHERE a = 'x' AND b = -12"), "SELECT * FROM t WHERE a = $1 AND b = $2");
    assert_eq!(text("select\n  a -- note\n , b /* c */ from t;"), "select a , b from t;");
    assert_eq!(text("SELECT'x'FROM t WHERE a=$3 AND b=1"), "SELECT $4 FROM t WHERE a=$3 AND b=$5");
    assert_eq!(text("SELECT a::varchar(20), interval '1 day'(3) FROM t LIMIT 10").matches(char::is_numeric).count(), 4);
    assert_eq!(normalize("", false).text, "");
    assert_eq!(normalize("", true).text, "…");
    assert_eq!(normalize("SELECT 1\0garbage 'x'", false).text, "SELECT $1");
}

#[test]
fn utility_statements_lose_theirs_too() {
    for sql in [
        "CREATE ROLE joe LOGIN PASSWORD 's3cr3t'",
        "ALTER ROLE joe ENCRYPTED PASSWORD 's3cr3t' VALID UNTIL 's3cr3t'",
        "CREATE USER joe PASSWORD E's3cr3t\\''",
        "SET application_name = 's3cr3t'",
        "SET application_name TO s3cr3t",
        "SET LOCAL app.tenant = s3cr3t, 's3cr3t'",
        "ALTER ROLE joe SET app.key TO s3cr3t",
        "SELECT 1; ALTER ROLE ALL IN DATABASE d SET app.key = s3cr3t; SET app.key TO DEFAULT; SET app.key TO s3cr3t",
        "ALTER SYSTEM SET primary_conninfo = 'password=s3cr3t'",
        "COPY t FROM '/home/s3cr3t' WITH (DELIMITER 's3cr3t')",
        "COPY t FROM PROGRAM 'curl s3cr3t'",
        "DO $$ BEGIN PERFORM 's3cr3t'; END $$",
        "DO $x$ s3cr3t $x$ LANGUAGE plpgsql",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $body$ SELECT 's3cr3t' $body$",
        "CREATE SUBSCRIPTION s CONNECTION 'host=h password=s3cr3t' PUBLICATION p",
        "CREATE SERVER s FOREIGN DATA WRAPPER w OPTIONS (password 's3cr3t')",
        "NOTIFY c, 's3cr3t'",
        "COMMENT ON TABLE t IS 's3cr3t'",
        "PREPARE q AS SELECT 's3cr3t'",
        "EXECUTE q('s3cr3t')",
        "EXPLAIN SELECT 's3cr3t'",
        "CREATE TABLE t (a text DEFAULT 's3cr3t', CHECK (a <> 's3cr3t'))",
        "SECURITY LABEL FOR x ON TABLE t IS 's3cr3t'",
        "LOAD 's3cr3t'",
        "PREPARE TRANSACTION 's3cr3t'",
    ] {
        let got = normalize(sql, false);
        assert!(!got.text.contains("s3cr3t"), "{sql} -> {}", got.text);
        assert_eq!(got.how, How::Parsed, "{sql}");
        // The class must not depend on it either: a hash of a secret can be guessed.
        assert_eq!(got.fingerprint, normalize(sql.replace("s3cr3t", "other"), false).fingerprint, "{sql}");
    }
    assert_eq!(text("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"), "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE");
    assert_eq!(text("SET jit = off"), "SET jit = $1");
    assert_eq!(text("UPDATE t SET a = b"), "UPDATE t SET a = b");
}

#[test]
fn classes() {
    assert_eq!(class("SELECT 1"), class("select  2 -- x"));
    assert_eq!(class("SELECT * FROM t WHERE a IN (1,2)"), class("SELECT * FROM t WHERE a IN (1,2,3)"));
    assert_eq!(class("BEGIN"), class("begin;"));
    assert_ne!(class("SELECT a FROM t"), class("SELECT b FROM t"));
    assert_ne!(class("SELECT a FROM orders_2024_01"), class("SELECT a FROM orders_2024_02"));
    let scanned = |sql: &str| normalize(sql, true).fingerprint.unwrap();
    assert_eq!(
        scanned("SELECT a FROM t WHERE b IN (1, 2) AND c = 'x"),
        scanned("select a from t where b in (1,2,3) and c = 'yy")
    );
    let hex = normalize("SELECT * FROM contacts WHERE name='Paul'", false).fingerprint_hex().unwrap();
    assert_eq!(hex, "0e2581a461ece536");
}

#[test]
fn statements_are_counted() {
    assert_eq!(normalize("SELECT 1; SELECT 2;", false).statements, 2);
    assert_eq!(normalize("SELECT 1; FOO 2; SELECT 'x", true).statements, 3);
    assert_eq!(normalize("SELECT ';'", false).statements, 1);
}

#[test]
fn cut_texts_show_what_is_certain() {
    let cut = |sql: &str| normalize(sql, true);
    assert_eq!(cut("SELECT a FROM t WHERE b = 's3cr3t").text, "SELECT a FROM t WHERE b = …");
    assert_eq!(cut("SELECT a FROM t WHERE b = $q$s3cr3t").text, "SELECT a FROM t WHERE b = …");
    assert_eq!(cut("SELECT a /* s3cr3t").text, "SELECT a …");
    assert_eq!(cut("SELECT a -- s3cr3t").text, "SELECT a …");
    assert_eq!(cut("SELECT \"a").text, "SELECT …");
    assert_eq!(cut("SELECT 1e").text, "SELECT …");
    assert_eq!(cut("SELECT a FROM t").how, How::Parsed);
    assert_eq!(cut("INSERT INTO t VALUES (1, 'x'), (2, 'y'), (").how, How::Scanned);
}

#[test]
fn backslashes_in_plain_strings_are_not_trusted() {
    // With standard_conforming_strings off this is one string; read the other way round it would show its second half.
    let got = normalize(r"SELECT 'it\'s s3cr3t' FROM t", false);
    assert_eq!((got.text.as_str(), got.how), ("SELECT …", How::Scanned));
    let got = normalize(r"SELECT 'a\', ' s3cr3t ' FROM t", false);
    assert!(!got.text.contains("s3cr3t"), "{}", got.text);
    assert_eq!(text(r"SELECT 'C:\\dir', E'a\'b' FROM t"), "SELECT $1, $2 FROM t");
}

#[test]
fn what_no_scanner_takes_is_withheld() {
    for sql in ["SELECT 1a's3cr3t'", "SELECT \"\" s3cr3t"] {
        assert_eq!(normalize(sql, false).text, UNPARSABLE, "{sql}");
    }
    assert_eq!(normalize("SELECT FROM WHERE", false).how, How::Scanned);
}

#[test]
fn bytes_of_other_encodings_are_replaced() {
    let got = normalize(b"SELECT a\xe9 FROM t WHERE b = 's3cr3t\xe9'", false);
    assert!(got.text.starts_with("SELECT a") && !got.text.contains("s3cr3t"), "{}", got.text);
    assert!(got.text.ends_with("FROM t WHERE b = $1"), "{}", got.text);
    // A character of a multi-byte encoding cut in two before the quote.
    let got = normalize(b"SELECT '\xe4', s FROM t", false);
    assert_eq!(got.text, "SELECT $1, s FROM t");
}

#[test]
fn hostile_texts_end() {
    for sql in [
        "(".repeat(MAX_TEXT * 2),
        "SELECT ".to_string() + &"1+".repeat(20_000) + "1",
        "SELECT ".to_string() + &"(".repeat(5_000) + "1" + &")".repeat(5_000),
        "/*".repeat(MAX_TEXT),
        "'".repeat(MAX_TEXT - 1),
        "SELECT ".to_string() + &"NOT ".repeat(15_000) + "a",
        "SELECT '".to_string() + &"s3cr3t".repeat(MAX_TEXT) + "'",
        "$".repeat(MAX_TEXT),
    ] {
        assert!(!normalize(&sql, false).text.contains("s3cr3t"));
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % n
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }
}

/// Every part of a planted literal that would give it away.
const TELLTALES: [&str; 6] = ["s3cr3t", "98765", "z9z9", "DEADBEEF", "0101010", "1e1"];

const LITERALS: [&str; 20] = [
    "'s3cr3t'",
    "'it''s s3cr3t'",
    "$tag$s3cr3t 'z9z9' $other$ z9z9$tag$",
    "$$s3cr3t$$",
    "E'z9z9\\'s3cr3t\\\\'",
    "e'z9z9\\n''s3cr3t'",
    "E'z9z9'\n  -- s3cr3t\n  '\\'s3cr3t'",
    "'z9z9'\n's3cr3t'",
    "U&'z9z9\\0061s3cr3t'",
    "U&'s3cr3t!0061z9z9' UESCAPE '!'",
    "N's3cr3t'",
    "X'DEADBEEF'",
    "x'DEADBEEF'",
    "B'0101010'",
    "9876598765",
    "-98765",
    "1e10",
    "98765.98765",
    ".98765e+98765",
    "0xDEADBEEF",
];

const FRAMES: [&str; 12] = [
    "SELECT @ FROM t WHERE a = @ AND b IN (@, @, @)",
    "INSERT INTO t (a, b) VALUES (@, @), (@, @)",
    "UPDATE t SET a = @, b = b || @ WHERE c LIKE @",
    "DELETE FROM \"odd \"\"name\" WHERE a > @ -- s3cr3t note\n AND b < @",
    "/* s3cr3t /* nested z9z9 */ */ SELECT @",
    "CREATE ROLE joe PASSWORD @",
    "SET app.x = @",
    "COPY t FROM @",
    "DO @",
    "SELECT f(@, x => @)::varchar(98765) ORDER BY @ LIMIT @",
    "SELECT broken broken ( @ FROM @ )) @",
    "BEGIN; SELECT @; COMMIT; NOTIFY c, @",
];

#[test]
fn no_literal_survives_whole_or_cut() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for round in 0..400 {
        let mut sql = String::new();
        for (i, piece) in FRAMES[round % FRAMES.len()].split('@').enumerate() {
            if i > 0 {
                sql.push_str(random.pick(&LITERALS));
            }
            sql.push_str(piece);
        }
        let check = |text: &str, cut: bool| {
            let got = normalize(text, cut);
            for telltale in TELLTALES {
                assert!(!got.text.contains(telltale), "{telltale} of {text:?} in {:?}", got.text);
            }
            // Beyond the planted ones: no digit that is not part of `$n`.
            let mut previous = ' ';
            for c in got.text.chars() {
                assert!(
                    !c.is_ascii_digit() || previous == '$' || previous.is_ascii_digit(),
                    "{text:?} -> {:?}",
                    got.text
                );
                previous = c;
            }
        };
        check(&sql, false);
        if round < 60 {
            for at in (0..sql.len()).filter(|&at| sql.is_char_boundary(at)) {
                check(&sql[..at], true);
                check(&sql[..at], false);
            }
        }
    }
}
