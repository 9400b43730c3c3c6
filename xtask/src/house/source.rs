//! Rust sources as tokens: enough to see paths, modules and functions, without comments and literals.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// An identifier, a number, `::`, or one character; a string as `"…"`, without a prefix and hashes; another literal as `'`.
    pub text: String,
    /// Counted from one.
    pub line: usize,
}

/// All Rust files below a directory, in order.
pub fn files(below: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![below.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).with_context(|| dir.display().to_string())? {
            let path = entry?.path();
            match path.is_dir() {
                true if path.file_name().is_some_and(|name| name == "target") => {}
                true => open.push(path),
                false if path.extension().is_some_and(|suffix| suffix == "rs") => found.push(path),
                false => {}
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The tokens of a file. Comments and lifetimes are gone; a literal is one token.
pub fn tokens(text: &str) -> Vec<Token> {
    let bytes = text.as_bytes();
    let (mut tokens, mut at, mut line) = (Vec::new(), 0, 1);
    while at < bytes.len() {
        let (length, token) = next(&bytes[at..]);
        if let Some(text) = token {
            tokens.push(Token { text: text.to_owned(), line });
        }
        line += bytes[at..at + length].iter().filter(|byte| **byte == b'\n').count();
        at += length;
    }
    tokens
}

/// How many bytes the next piece of a source takes, and its token if it is one.
fn next(rest: &[u8]) -> (usize, Option<&str>) {
    const CHARACTER: &str = "'";
    let text = |bytes| std::str::from_utf8(bytes).ok();
    match rest {
        [b'/', b'/', ..] => (rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()), None),
        [b'/', b'*', ..] => (block_comment(rest), None),
        [b'"', ..] => (string(rest), text(&rest[..string(rest)])),
        [b'\'', ..] => match character(rest) {
            Some(length) => (length, Some(CHARACTER)),
            None => (1 + word(&rest[1..]), None), // a lifetime
        },
        [b':', b':', ..] => (2, Some("::")),
        [first, ..] if first.is_ascii_whitespace() => (1, None),
        [first, ..] if is_word(*first) => {
            let length = word(rest);
            match prefixed(rest, length) {
                Some(whole) if rest[whole - 1] == b'\'' => (whole, Some(CHARACTER)),
                Some(whole) => (whole, text(&rest[length..whole]).map(|text| text.trim_matches('#'))),
                None => (length, text(&rest[..length])),
            }
        }
        _ => (1, text(&rest[..1])),
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

fn word(rest: &[u8]) -> usize {
    rest.iter().position(|byte| !is_word(*byte)).unwrap_or(rest.len())
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// The length of a string that begins here, with its quotes.
fn string(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// The length of a character, or `None` for a lifetime.
fn character(rest: &[u8]) -> Option<usize> {
    let end = |from: usize| rest[from..].iter().position(|byte| *byte == b'\'').map(|found| from + found + 1);
    if rest.get(1) == Some(&b'\\') {
        return end(3);
    }
    let length = std::str::from_utf8(rest.get(1..rest.len().min(5))?)
        .map_or_else(|error| error.valid_up_to(), str::len)
        .min(rest.len() - 1);
    let first = std::str::from_utf8(&rest[1..1 + length]).ok()?.chars().next()?;
    (rest.get(1 + first.len_utf8()) == Some(&b'\'')).then(|| first.len_utf8() + 2)
}

/// The length of `r"…"`, `br#"…"#`, `b"…"`, `b'…'`, `c"…"`, if the word is such a prefix.
fn prefixed(rest: &[u8], word: usize) -> Option<usize> {
    let raw = matches!(&rest[..word], b"r" | b"br" | b"cr");
    let plain = matches!(&rest[..word], b"b" | b"c");
    let after = &rest[word..];
    if raw {
        let hashes = after.iter().position(|byte| *byte != b'#')?;
        if after.get(hashes) != Some(&b'"') {
            return None;
        }
        let close: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
        let body = &after[hashes + 1..];
        let end = body.windows(close.len()).position(|window| window == close)?;
        return Some(word + hashes + 1 + end + close.len());
    }
    match after.first() {
        Some(b'"') if plain => Some(word + string(after)),
        Some(b'\'') if plain => Some(word + character(after)?),
        _ => None,
    }
}

/// Leaves out what is compiled for tests alone. Also the names of the modules that are declared so and lie in files of their own.
pub fn without_tests(tokens: &[Token]) -> (Vec<Token>, Vec<String>) {
    const MARK: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let (mut kept, mut modules, mut at) = (Vec::new(), Vec::new(), 0);
    while at < tokens.len() {
        let marked = tokens[at..].iter().zip(MARK).filter(|(token, mark)| token.text == *mark).count() == MARK.len();
        if !marked {
            kept.push(tokens[at].clone());
            at += 1;
            continue;
        }
        let item = &tokens[at + MARK.len()..];
        let length = item_length(item);
        if let Some([_, name, end]) = item[..length].windows(3).find(|window| window[0].text == "mod")
            && end.text == ";"
        {
            modules.push(name.text.clone());
        }
        at += MARK.len() + length;
    }
    (kept, modules)
}

/// The tokens of one item: up to its `;`, or to the end of its first block and the `;` behind that.
fn item_length(item: &[Token]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < item.len() {
        match item[at].text.as_str() {
            "{" | "(" | "[" => depth += 1,
            ")" | "]" => depth = depth.saturating_sub(1),
            "}" => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1 + usize::from(item.get(at + 1).is_some_and(|token| token.text == ";"));
                }
            }
            ";" if depth == 0 => return at + 1,
            _ => {}
        }
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(source: &str) -> Vec<String> {
        tokens(source).into_iter().map(|token| token.text).collect()
    }

    #[test]
    fn comments_and_literals_are_no_code() {
        let source = "a /* b /* c */ d */ \"e \\\" f\" // g\n r#\"h \" i\"# b'j' 'k' '\\'' 'l x::y 'ä' b\"m\" n";
        let mut seen = texts(source);
        seen.retain(|text| text != "'");
        assert_eq!(seen, ["a", "\"e \\\" f\"", "\"h \" i\"", "x", "::", "y", "\"m\"", "n"]);
        assert_eq!(tokens("a\n/* \n */ b").last().map(|token| token.line), Some(3));
    }

    #[test]
    fn what_is_for_tests_alone_is_left_out() {
        let source = "a; #[cfg(test)] mod far; #[cfg(test)] mod near { fn f() { x; } } #[cfg(test)] use z::{y}; b;";
        let (kept, modules) = without_tests(&tokens(source));
        let kept: Vec<&str> = kept.iter().map(|token| token.text.as_str()).collect();
        assert_eq!((kept, modules), (vec!["a", ";", "b", ";"], vec!["far".to_owned()]));
    }
}
