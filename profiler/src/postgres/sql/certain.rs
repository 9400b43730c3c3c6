//! How much of a text is certain to be cut into tokens as the server cuts it.
//!
//! The scanner only says that it failed, not where; and it does not know the server's settings.

/// How far the text can be cut into tokens without doubt: up to a quote or comment that does not end in it, or up to a
/// plain string with `\'` in it. The latter ends at that quote when `standard_conforming_strings` is on, and goes on
/// when it is off.
pub(super) fn certain_prefix(text: &str) -> usize {
    let b = text.as_bytes();
    let at = |i: usize| b.get(i).copied().unwrap_or(0);
    let mut i = 0;
    while i < b.len() {
        let start = i;
        let end = match b[i] {
            b'-' if at(i + 1) == b'-' => {
                Some(b[i..].iter().position(|&c| matches!(c, b'\n' | b'\r')).map_or(b.len(), |n| i + n))
            }
            b'/' if at(i + 1) == b'*' => comment_end(b, i),
            b'\'' => plain_string_end(b, i),
            b'"' => quoted_end(b, i + 1, b'"'),
            b'$' => dollar_end(b, i),
            c if c.is_ascii_digit() => {
                Some(b[i..].iter().position(|c| !c.is_ascii_alphanumeric() && *c != b'_').map_or(b.len(), |n| i + n))
            }
            c if is_identifier(c) => {
                let word = b[i..].iter().position(|&c| !is_identifier(c) && c != b'$').map_or(b.len(), |n| i + n);
                match &b[i..word] {
                    b"e" | b"E" if at(word) == b'\'' => escape_string_end(b, word),
                    _ => Some(word),
                }
            }
            _ => Some(i + 1),
        };
        match end {
            Some(end) => i = end,
            None => return start,
        }
    }
    b.len()
}

fn is_identifier(c: u8) -> bool {
    c.is_ascii_alphanumeric() || c == b'_' || c >= 0x80
}

fn comment_end(b: &[u8], start: usize) -> Option<usize> {
    let (mut depth, mut i) = (0usize, start);
    while i + 1 < b.len() {
        match &b[i..i + 2] {
            b"/*" => (depth, i) = (depth + 1, i + 2),
            b"*/" => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
        if depth == 0 {
            return Some(i);
        }
    }
    None
}

/// The end of a quoted thing whose quote is doubled within it, from the byte after the opening quote.
fn quoted_end(b: &[u8], mut i: usize, quote: u8) -> Option<usize> {
    loop {
        i += b[i.min(b.len())..].iter().position(|&c| c == quote)? + 1;
        if b.get(i) != Some(&quote) {
            return Some(i);
        }
        i += 1;
    }
}

fn plain_string_end(b: &[u8], start: usize) -> Option<usize> {
    let end = quoted_end(b, start + 1, b'\'')?;
    let mut escaped = false;
    for &c in &b[start + 1..end] {
        if escaped && c == b'\'' {
            return None;
        }
        escaped = c == b'\\' && !escaped;
    }
    Some(end)
}

/// From the opening quote; a string that goes on behind a line break is still one with escapes.
fn escape_string_end(b: &[u8], start: usize) -> Option<usize> {
    let mut i = start + 1;
    loop {
        match *b.get(i)? {
            b'\\' => i += 2,
            b'\'' if b.get(i + 1) == Some(&b'\'') => i += 2,
            b'\'' => {
                let end = i + 1;
                let mut k = end;
                let mut broken = false;
                loop {
                    match b.get(k) {
                        Some(b'\n' | b'\r') => (broken, k) = (true, k + 1),
                        Some(b' ' | b'\t' | 0x0b | 0x0c) => k += 1,
                        Some(b'-') if broken && b.get(k + 1) == Some(&b'-') => {
                            k += b[k..].iter().position(|&c| matches!(c, b'\n' | b'\r')).unwrap_or(b.len() - k);
                        }
                        _ => break,
                    }
                }
                if !broken || b.get(k) != Some(&b'\'') {
                    return Some(end);
                }
                i = k + 1;
            }
            _ => i += 1,
        }
    }
}

fn dollar_end(b: &[u8], start: usize) -> Option<usize> {
    let tag_end = start + 1 + b[start + 1..].iter().position(|&c| !is_identifier(c)).unwrap_or(b.len() - start - 1);
    let is_quote = b.get(tag_end) == Some(&b'$') && !b[start + 1].is_ascii_digit();
    if !is_quote {
        return Some(start + 1);
    }
    let tag = &b[start..=tag_end];
    b[tag_end + 1..].windows(tag.len()).position(|w| w == tag).map(|n| tag_end + 1 + n + tag.len())
}
