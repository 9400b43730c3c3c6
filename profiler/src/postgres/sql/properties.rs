//! No literal of any statement survives: statements are made at random with marks in all their literals and comments,
//! and no mark comes out, whole or cut anywhere.

use proptest::{prelude::*, strategy::ValueTree as _};

use super::*;

/// Stand for a mark in a text and in a number until they are filled in.
const TEXT: char = '\u{1}';
const NUMBER: char = '\u{2}';
/// A space that may become any white space or comment.
const GAP: char = '\u{3}';

fn literal() -> impl Strategy<Value = String> {
    const FORMS: &[&str] = &[
        "'T'",
        "E'a\\'T\\\\'",
        "e'T\\nT'",
        "'it''s T'",
        "$$T$$",
        "$q$ T $$ T $q$",
        "U&'T\\0041'",
        "N'T'",
        "'T'\n'T'",
        "''",
        "N",
        "N.N",
        "N.5e-7",
        ".N",
        "NE3",
        "- N",
        "-N",
        "+N",
        "0",
        "'T'::text",
        "interval 'T' day",
        "date 'T'",
        "X'1F'",
        "B'101'",
        "'é T 日本'",
        "'-- T'",
        "'/* T'",
        "'\"T'",
    ];
    // The letters of the forms, but not the N of a national string or the B and X of bit strings.
    prop::sample::select(FORMS).prop_map(|form: &str| match form {
        "N'T'" => format!("N'{TEXT}'"),
        form => form.replace('T', &TEXT.to_string()).replace('N', &NUMBER.to_string()),
    })
}

fn expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        4 => literal(),
        1 => prop::sample::select(&["a", "t.b", "\"Odd \"\"name\"", "$1", "NULL", "current_date", "ü"][..]).prop_map(str::to_owned),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        let list = prop::collection::vec(inner.clone(), 1..4).prop_map(|all| all.join(&format!(",{GAP}")));
        prop_oneof![
            (
                inner.clone(),
                prop::sample::select(&["+", "-", "*", "=", "<>", "||", "AND", "LIKE", "@>", "->>"][..]),
                inner.clone()
            )
                .prop_map(|(a, op, b)| format!("{a}{GAP}{op}{GAP}{b}")),
            list.clone().prop_map(|list| format!("f({list})")),
            list.clone().prop_map(|list| format!("a{GAP}IN{GAP}({list})")),
            list.prop_map(|list| format!("ARRAY[{list}]")),
            inner.clone().prop_map(|e| format!("({GAP}{e}{GAP})")),
            inner.clone().prop_map(|e| format!("CAST({e}{GAP}AS{GAP}text)")),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| format!("CASE{GAP}WHEN{GAP}{a}{GAP}THEN{GAP}{b}{GAP}ELSE{GAP}{c}{GAP}END")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("a{GAP}BETWEEN{GAP}{a}{GAP}AND{GAP}{b}")),
            inner.prop_map(|e| format!("(SELECT{GAP}{e}{GAP}FROM{GAP}t)")),
        ]
    })
}

fn statement() -> impl Strategy<Value = String> {
    const FORMS: &[&str] = &[
        "SELECT E, E FROM t WHERE E ORDER BY a LIMIT N",
        "SELECT E",
        "INSERT INTO t (a, b) VALUES (E, E), (E, E) RETURNING E",
        "UPDATE t SET a = E, b = E WHERE E",
        "DELETE FROM t WHERE E",
        "WITH w AS (SELECT E) SELECT E FROM w",
        "SET app.x = 'T'",
        "SET app.x TO W",
        "SET LOCAL app.x = W, 'T', N",
        "CREATE ROLE r LOGIN PASSWORD 'T' CONNECTION LIMIT N VALID UNTIL 'T'",
        "ALTER ROLE r SET app.x TO W",
        "ALTER SYSTEM SET app.x = 'T'",
        "COPY t FROM 'T' WITH (DELIMITER 'T')",
        "COPY t TO PROGRAM 'T'",
        "DO $$ T 'T' N $$",
        "DO $x$ T $x$ LANGUAGE plpgsql",
        "EXECUTE q (E, E)",
        "PREPARE q AS SELECT E",
        "EXPLAIN SELECT E",
        "CALL p(E)",
        "CREATE TABLE t (a text DEFAULT 'T', CHECK (a <> E))",
        "COMMENT ON TABLE t IS 'T'",
        "NOTIFY c, 'T'",
        "SECURITY LABEL ON TABLE t IS 'T'",
        "CREATE SUBSCRIPTION s CONNECTION 'password=T' PUBLICATION p",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $body$ SELECT 'T', N $body$",
        "DECLARE c CURSOR FOR SELECT E",
        "SELECT * FROM t, LATERAL g(E) x WHERE x.y = E",
        // No grammar takes these.
        "SELEKT E",
        "SELECT FROM WHERE E E",
        "SELECT (E",
        "SELECT E)",
        "PASSWORD 'T' N",
    ];
    (prop::sample::select(FORMS), prop::collection::vec(expression(), 4)).prop_map(|(form, expressions)| {
        let mut expressions = expressions.into_iter().cycle();
        form.split(' ')
            .map(|word| {
                let quoted = word.contains('\'');
                let mut out = String::new();
                for (i, c) in word.char_indices() {
                    let alone = |c: char| {
                        let near = |at: Option<char>| !at.is_some_and(|n| n.is_alphanumeric() || n == '_');
                        near(word[..i].chars().next_back()) && near(word[i + c.len_utf8()..].chars().next())
                    };
                    match c {
                        'E' if alone(c) && !quoted => out.push_str(&expressions.next().unwrap_or_default()),
                        'T' if alone(c) => out.push(TEXT),
                        'N' if alone(c) => out.push(NUMBER),
                        // A value that needs no quotes.
                        'W' if alone(c) => out.push(TEXT),
                        c => out.push(c),
                    }
                }
                out
            })
            .collect::<Vec<_>>()
            .join(&GAP.to_string())
    })
}

/// A text of several statements, with any white space and comments between the tokens.
fn template() -> impl Strategy<Value = String> {
    const GAPS: &[&str] = &[" ", "  ", "\n", "\t", " /* T */ ", " -- T N\n", "/* 'T /* T */ N */", "--T'\n", "\r\n"];
    let gap = prop::sample::select(GAPS);
    (prop::collection::vec(statement(), 1..3), prop::collection::vec(gap, 1..12)).prop_map(|(statements, gaps)| {
        let mut gaps = gaps.into_iter().cycle();
        let mut out = String::new();
        for c in statements.join(";\u{3}").chars() {
            match c {
                GAP => {
                    let gap = gaps.next().unwrap_or(" ");
                    out.push_str(&gap.replace('T', &TEXT.to_string()).replace('N', &NUMBER.to_string()));
                }
                c => out.push(c),
            }
        }
        out
    })
}

fn filled(template: &str, text: &str, number: &str) -> String {
    template.replace(TEXT, text).replace(NUMBER, number)
}

/// What must not come out, and the beginnings of it that a cut may leave.
const MARKS: [&str; 2] = ["zqx", "91827"];

fn assert_none(sql: &[u8], cut: bool) -> Result<(), TestCaseError> {
    let shown = normalize(sql, cut).text;
    for mark in MARKS {
        prop_assert!(!shown.contains(mark), "{mark} of {:?} ({cut}) came out: {shown:?}", String::from_utf8_lossy(sql));
    }
    Ok(())
}

/// A parse takes milliseconds in a build that is not optimised: fewer cases than elsewhere, unless more are asked for.
fn config() -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    ProptestConfig { cases: asked.unwrap_or(64), ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn no_literal_survives(template in template(), at in any::<prop::sample::Index>()) {
        let sql = filled(&template, "zqxsecret", "918273645");
        assert_none(sql.as_bytes(), false)?;
        // Cut anywhere, also within a character, and whether or not that is known.
        let end = at.index(sql.len());
        assert_none(&sql.as_bytes()[..end], true)?;
        assert_none(&sql.as_bytes()[..end], false)?;
    }

    /// Nor can one be guessed from the class.
    #[test]
    fn no_literal_is_in_the_class(template in template()) {
        let one = normalize(filled(&template, "zqxsecret", "918273645"), false);
        let other = normalize(filled(&template, "other", "7"), false);
        prop_assert_eq!(&one.text, &other.text, "{}", template);
        prop_assert_eq!(one.fingerprint, other.fingerprint, "{}", template);
    }

    #[test]
    fn any_text(text in prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        "[a-zA-Z0-9'\"$\\\\/*;,()\\-\n\u{e9} ]{0,120}".prop_map(String::into_bytes),
        any::<String>().prop_map(String::into_bytes),
    ], cut: bool) {
        let normalized = normalize(&text, cut);
        prop_assert!(normalized.text.len() <= 8 * text.len() + 16);
    }
}

mod fixed {
    use super::*;

    /// The law is worth nothing if the statements are none: most must be SQL to the grammar, with marks in them.
    #[test]
    fn the_statements_are_statements() {
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        let (mut parsed, mut marked) = (0, 0);
        for _ in 0..100 {
            let template = template().new_tree(&mut runner).expect("a statement").current();
            parsed += (normalize(filled(&template, "zqxsecret", "918273645"), false).how == How::Parsed) as u32;
            marked += template.contains([TEXT, NUMBER]) as u32;
        }
        assert!(parsed > 30 && marked > 80, "of 100, {parsed} parsed and {marked} marked");
    }
}
