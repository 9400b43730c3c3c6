//! Query text without its literals, and the class it belongs to.
//!
//! Query text holds what a report must not: passwords, names, card numbers. Nothing leaves this module but what was put
//! together from the tokens of Postgres' own scanner, with every constant replaced and every comment dropped; a text
//! whose tokens are not certain is withheld from the first uncertain one on, or altogether.
//!
//! `pg_query::normalize` is not used: it leaves the constants of many utility statements and all comments in, and its
//! result cannot be scanned again with certainty (`SELECT'x'FROM` becomes `SELECT$1FROM`, one identifier).

mod certain;

use std::panic::{AssertUnwindSafe, catch_unwind};

use pg_query::protobuf::{KeywordKind, Token};

use self::certain::certain_prefix;

/// The longest text that is looked at, in bytes; the rest is treated as cut off.
pub const MAX_TEXT: usize = 64 * 1024;

/// What stands for a text that cannot be normalised safely.
pub const UNPARSABLE: &str = "<unparsable>";

/// How a text was understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// The grammar accepted it.
    Parsed,
    /// Only its tokens are known: it was cut, or is not SQL this grammar knows.
    Scanned,
    /// Nothing of it is shown.
    Unparsable,
}

/// A query without its literals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Normalized {
    /// On one line, constants as `$n`, without comments; ends in `…` when a part is missing.
    pub text: String,
    /// The class: equal for statements that differ in constants, case, white space or the length of `IN` lists only. It
    /// is made from the structure alone, so that no constant can be guessed from it. None when unparsable.
    pub fingerprint: Option<u64>,
    /// Statements in the text, at least 1 unless it is empty.
    pub statements: usize,
    pub how: How,
}

impl Normalized {
    fn unparsable() -> Self {
        Normalized { text: UNPARSABLE.into(), fingerprint: None, statements: 1, how: How::Unparsable }
    }

    /// The fingerprint as 16 hexadecimal digits, as pg_query prints it.
    pub fn fingerprint_hex(&self) -> Option<String> {
        self.fingerprint.map(|value| format!("{value:016x}"))
    }
}

/// Takes every literal and comment out of a query text. `cut` says that the server showed only the beginning of it.
///
/// Bytes that are not UTF-8 are replaced: in every encoding a server can have, the bytes of a character outside of
/// ASCII are outside of ASCII too, so that no quote can hide in one. The text ends at the first NUL, as it does for the
/// server.
pub fn normalize(text: impl AsRef<[u8]>, cut: bool) -> Normalized {
    let bytes = text.as_ref();
    let bytes = &bytes[..bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len())];
    let limited = &bytes[..bytes.len().min(MAX_TEXT)];
    let cut = cut || limited.len() < bytes.len();
    let text = String::from_utf8_lossy(limited);
    // The C code reports its errors; this is against a panic in the crate's decoding.
    catch_unwind(AssertUnwindSafe(|| normalize_text(&text, cut))).unwrap_or_else(|_| Normalized::unparsable())
}

fn normalize_text(text: &str, cut: bool) -> Normalized {
    let certain = certain_prefix(text);
    if certain == text.len()
        && let Some(parsed) = parsed(text, cut)
    {
        return parsed;
    }
    let shown = &text[..certain];
    let missing = cut || certain < text.len();
    scanned(shown, missing)
        // The last word may be half a number, as in `1e`, which no scanner takes.
        .or_else(|| cut.then(|| scanned(without_last_word(shown), true)).flatten())
        .unwrap_or_else(Normalized::unparsable)
}

fn parsed(text: &str, cut: bool) -> Option<Normalized> {
    let utility = pg_query::is_utility_stmt(text).ok()?;
    let tokens = tokens(text)?;
    let redacted = redact(&tokens, cut);
    // Of SELECT and DML pg_query's fingerprint leaves all constants out. Of utility statements it does not everywhere,
    // and the plain hash of a password is as good as the password.
    let fingerprint = if utility.iter().any(|&u| u) || utility.is_empty() || cut {
        redacted.hash
    } else {
        pg_query::fingerprint(text, 0, pg_query::FingerprintOptions::FULL_RELNAME).ok()?.value
    };
    Some(Normalized {
        text: redacted.text,
        fingerprint: Some(fingerprint),
        statements: utility.len(),
        how: How::Parsed,
    })
}

fn scanned(text: &str, missing: bool) -> Option<Normalized> {
    let tokens = tokens(text)?;
    let redacted = redact(&tokens, missing);
    Some(Normalized {
        text: redacted.text,
        fingerprint: Some(redacted.hash),
        statements: redacted.statements,
        how: How::Scanned,
    })
}

#[derive(Debug)]
struct Lexeme<'a> {
    text: &'a str,
    token: Token,
    keyword: bool,
    /// Something stood between it and the one before.
    gap: bool,
}

/// The tokens as Postgres' scanner sees them, without comments; none if it does not accept the text.
fn tokens(text: &str) -> Option<Vec<Lexeme<'_>>> {
    // The crate makes a slice of a null pointer when there is no token at all.
    if text.trim().is_empty() {
        return Some(Vec::new());
    }
    let raw = pg_query::scan_tokens(text).ok()?;
    let mut out: Vec<Lexeme> = Vec::with_capacity(raw.len());
    let mut last_end = 0;
    for (i, scanned) in raw.iter().enumerate() {
        let start = usize::try_from(scanned.start).ok()?;
        let next = raw.get(i + 1).map_or(text.len(), |next| next.start.max(0) as usize);
        let end = (scanned.end.max(0) as usize).min(next);
        let token = Token::try_from(scanned.token).ok()?;
        if matches!(token, Token::SqlComment | Token::CComment) {
            continue;
        }
        let gap = start > last_end;
        last_end = end;
        let keyword = scanned.keyword_kind != KeywordKind::NoKeyword as i32;
        out.push(Lexeme { text: text.get(start..end)?, token, keyword, gap });
    }
    Some(out)
}

struct Redacted {
    text: String,
    hash: u64,
    statements: usize,
}

fn is_literal(token: Token) -> bool {
    use Token::*;
    matches!(token, Sconst | Usconst | Bconst | Xconst | Iconst | Fconst)
}

/// Puts the text together again, each literal replaced by the next free `$n`.
fn redact(tokens: &[Lexeme], missing: bool) -> Redacted {
    let used = tokens.iter().filter(|t| t.token == Token::Param).filter_map(|t| t.text[1..].parse::<u32>().ok()).max();
    let mut next = used.unwrap_or(0);
    let mut text = String::new();
    let mut hash = TokenHash::new();
    let (mut statements, mut in_statement) = (0, false);
    let values = setting_values(tokens);
    for (i, lexeme) in tokens.iter().enumerate() {
        if lexeme.token == Token::Ascii59 {
            in_statement = false;
        } else if !in_statement {
            in_statement = true;
            statements += 1;
        }
        if is_sign(tokens, i) {
            continue;
        }
        let placeholder = (is_literal(lexeme.token) || values[i]).then(|| {
            next = next.saturating_add(1);
            format!("${next}")
        });
        let shown = placeholder.as_deref().unwrap_or(lexeme.text);
        let word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$') || !c.is_ascii();
        let glued = text.ends_with(word) && shown.starts_with(word);
        let gap = lexeme.gap || i > 0 && tokens[i - 1].gap && is_sign(tokens, i - 1);
        if !text.is_empty() && (gap || glued) {
            text.push(' ');
        }
        text.push_str(shown);
        match lexeme.token {
            _ if placeholder.is_some() => hash.value(),
            Token::Param => hash.value(),
            Token::Ascii59 if i + 1 == tokens.len() => {}
            _ if lexeme.keyword || lexeme.token == Token::Ident && !lexeme.text.starts_with('"') => {
                hash.token(&lexeme.text.to_lowercase());
            }
            _ => hash.token(lexeme.text),
        }
    }
    if missing {
        text.push_str(if text.is_empty() { "…" } else { " …" });
    }
    Redacted { text, hash: hash.finish(missing), statements }
}

/// The minus of a negative number, so that 1 and -1 are one class; not that of a difference.
fn is_sign(tokens: &[Lexeme], at: usize) -> bool {
    let number = |i: usize| tokens.get(i).is_some_and(|t| matches!(t.token, Token::Iconst | Token::Fconst));
    let operand = |t: &Lexeme| {
        is_literal(t.token)
            || matches!(t.token, Token::Param | Token::Ascii41 | Token::Ascii93 | Token::Ident | Token::Uident)
            || t.keyword && !STARTS_EXPRESSION.contains(&t.token)
    };
    tokens[at].token == Token::Ascii45 && number(at + 1) && !(at > 0 && operand(&tokens[at - 1]))
}

/// Keywords after which a minus is a sign; after any other it may be an operator on a column of that name.
const STARTS_EXPRESSION: [Token; 16] = [
    Token::Select,
    Token::Where,
    Token::And,
    Token::Or,
    Token::Not,
    Token::Between,
    Token::Limit,
    Token::Offset,
    Token::When,
    Token::Then,
    Token::Else,
    Token::Having,
    Token::Returning,
    Token::On,
    Token::Like,
    Token::By,
];

/// Which tokens are the values of `SET name TO value, value`: constants that need no quotes.
fn setting_values(tokens: &[Lexeme]) -> Vec<bool> {
    let mut out = vec![false; tokens.len()];
    // 0: not in SET, 1: before the sign, 2: a value must follow, 3: a comma may.
    let (mut state, mut start) = (0, 0);
    for (i, lexeme) in tokens.iter().enumerate() {
        if i > 0 && tokens[i - 1].token == Token::Ascii59 {
            start = i;
        }
        match (state, lexeme.token) {
            (_, Token::Ascii59) => state = 0,
            (3, Token::Ascii44) => state = 2,
            (2, _) => {
                out[i] = lexeme.token != Token::Default
                    && (lexeme.keyword || matches!(lexeme.token, Token::Ident | Token::Uident));
                // The sign of a number is not the number.
                state = if matches!(lexeme.token, Token::Ascii43 | Token::Ascii45) { 2 } else { 3 };
            }
            (1, Token::To | Token::Ascii61) => state = 2,
            (0 | 3, Token::Set) if i == start || takes_settings(&tokens[start..]) => state = 1,
            (3, _) => state = 0,
            _ => {}
        }
    }
    out
}

/// `ALTER ROLE x SET name TO value` and its like, but not `ALTER TABLE x ALTER COLUMN y SET DEFAULT …`.
fn takes_settings(statement: &[Lexeme]) -> bool {
    use Token::{Alter, Create, Database, Function, Procedure, Role, Routine, SystemP, User};
    statement.first().is_some_and(|t| matches!(t.token, Alter | Create))
        && statement[1..]
            .iter()
            .take(3)
            .any(|t| matches!(t.token, Role | User | Database | SystemP | Function | Procedure | Routine))
}

/// A stable 64-bit hash (FNV-1a) over tokens, in which a list of values counts as one value.
struct TokenHash {
    state: u64,
    /// 0: after something else, 1: after a value, 2: after a value and a comma.
    list: u8,
}

impl TokenHash {
    fn new() -> Self {
        TokenHash { state: 0xcbf2_9ce4_8422_2325, list: 0 }
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.state = (self.state ^ byte as u64).wrapping_mul(0x0000_0100_0000_01b3);
        }
        self.state = (self.state ^ 0xff).wrapping_mul(0x0000_0100_0000_01b3);
    }

    fn value(&mut self) {
        if self.list != 2 {
            self.write(b"$");
        }
        self.list = 1;
    }

    fn token(&mut self, text: &str) {
        if self.list == 1 && text == "," {
            self.list = 2;
            return;
        }
        if self.list == 2 {
            self.write(b",");
        }
        self.list = 0;
        self.write(text.as_bytes());
    }

    fn finish(mut self, missing: bool) -> u64 {
        if missing {
            self.write("…".as_bytes());
        }
        self.state
    }
}

fn without_last_word(text: &str) -> &str {
    text.trim_end_matches(|c: char| {
        !c.is_whitespace() && !matches!(c, '(' | ',' | ')' | '=' | '<' | '>' | '+' | '*' | '/')
    })
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
