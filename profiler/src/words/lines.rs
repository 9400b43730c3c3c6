//! Lines of text: what does no harm to a terminal, and what fits.

use unicode_width::UnicodeWidthChar as _;

/// The text on one line without anything a terminal would act on: line breaks and tabs become spaces, other control
/// characters, and those that hide or turn text around, their code.
pub fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\r' | '\t' => out.push(' '),
            c if is_harmful(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

/// What a terminal acts on, or a reader does not see.
pub(crate) fn is_harmful(c: char) -> bool {
    c.is_control() || is_invisible(c)
}

fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}'
    )
}

/// Columns a character takes; wide East Asian ones and pictures take two. What makes a picture of the character before
/// it (U+FE0F) takes the second column of that.
fn char_width(c: char) -> usize {
    if c == '\u{fe0f}' { 1 } else { c.width().unwrap_or(1) }
}

/// Columns a text takes.
pub fn width(text: &str) -> usize {
    text.chars().map(char_width).sum()
}

/// The text, or as much of it as fits with `…` at the end.
pub fn fit(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.into();
    }
    let mut out = String::new();
    let mut used = 0;
    for c in text.chars() {
        used += char_width(c);
        if used + 1 > columns {
            break;
        }
        out.push(c);
    }
    if columns > 0 {
        out.truncate(out.trim_end().len());
        out.push('…');
    }
    out
}

/// As [`fit`], but what does not fit is left out at the start: the end of a path says more than its beginning.
pub fn fit_end(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.into();
    }
    let mut used = 1;
    let kept: Vec<char> = text.chars().rev().take_while(|&c| (used += char_width(c), used <= columns).1).collect();
    if columns == 0 { String::new() } else { std::iter::once('…').chain(kept.into_iter().rev()).collect() }
}

/// A statement's text, cut where it is long.
pub fn short(text: &str) -> String {
    const MOST: usize = 120;
    match text.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.into(),
    }
}

/// A space at which [`wrap`] breaks no line; it is shown as a space.
pub const TIE: char = '\u{a0}';

/// A number and its unit, or a name and its number, kept together by [`wrap`].
pub fn tie(text: &str) -> String {
    text.replace(' ', "\u{a0}")
}

/// The text over lines of at most `columns`, all but the first indented, the last of `most` cut off with `…`. Runs of
/// spaces stay.
pub fn wrap(text: &str, columns: usize, indent: usize, most: usize) -> Vec<String> {
    let indent = " ".repeat(indent.min(columns / 2));
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    let mut rest = text;
    while !rest.trim_matches(' ').is_empty() {
        let start = rest.len() - rest.trim_start_matches(' ').len();
        let end = rest[start..].find(' ').map_or(rest.len(), |n| start + n);
        let (gap, word) = (&rest[..start], &rest[start..end]);
        let full = !line.trim().is_empty() && width(&line) + start + width(word) > columns;
        if full && lines.len() + 1 >= most {
            line.push_str(rest);
            break;
        }
        if full {
            lines.push(fit(&line, columns));
            line = indent.clone();
        } else {
            line.push_str(gap);
        }
        line.push_str(word);
        rest = &rest[end..];
    }
    if !line.trim().is_empty() {
        lines.push(fit(&line, columns));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_the_terminal() {
        let text = clean("a\nb\x1b[31mc\u{9b}2J\u{202e}d\x07");
        assert!(!text.chars().any(|c| c.is_control() || is_invisible(c)), "{text}");
        assert!(text.starts_with("a b\\u{1b}[31mc"));
    }

    #[test]
    fn fitting_and_wrapping() {
        assert_eq!((fit("abc", 3), fit("abcd", 3), fit("abcd", 0)), ("abc".into(), "ab…".into(), "".into()));
        assert_eq!(width(&fit("日本語日本語", 5)), 5);
        assert_eq!(
            (fit_end("abcd", 3), fit_end("abcd", 4), fit_end("abcd", 0)),
            ("…cd".into(), "abcd".into(), "".into())
        );
        assert_eq!(wrap(&format!("a  b {}", tie("12 ms")), 8, 1, 9), ["a  b", " 12\u{a0}ms"]);
        assert_eq!(wrap("one two three four", 9, 2, 9), ["one two", "  three", "  four"]);
        assert_eq!(wrap("one two three four", 9, 2, 2), ["one two", "  three…"]);
        assert_eq!(wrap("  unbreakablelongword", 8, 2, 2), ["  unbre…"]);
    }
}
