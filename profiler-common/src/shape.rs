//! The shape of a statement: a hash of its text that does not see literals or comments.
//!
//! A server that computes no query id leaves only the text to tell statements apart, and texts differ by their literals.
//! The shape drops what pg_query's fingerprint would drop anyway, cheaply, so that a text goes to userspace once per
//! shape. Two texts of one class may have two shapes; two texts of one shape are meant to be of one class.
//!
//! It is a table-driven automaton without a data-dependent branch but one in [`CHUNK`] bytes: that suits the CPU, and the
//! verifier, which would otherwise follow every path through every byte. The lexical rules are those of src/backend/parser/scan.l
//! with standard_conforming_strings on.

/// Bytes of a text that are looked at: the default of `track_activity_query_size`.
pub const LEN: usize = 1024;

/// Bytes between two looks for the end.
const CHUNK: usize = 16;

/// Offset basis and prime of the 64-bit FNV-1a hash.
const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

// States.
const PLAIN: u8 = 0;
const WORD: u8 = 1;
/// A word that is just `e`: a quote after it begins a string with escapes.
const WORD_E: u8 = 2;
const NUMBER: u8 = 3;
const STRING: u8 = 4;
const ESCAPES: u8 = 5;
const ESCAPED: u8 = 6;
const QUOTED: u8 = 7;
const DASH: u8 = 8;
const LINE: u8 = 9;
const SLASH: u8 = 10;
const BLOCK: u8 = 11;
const BLOCK_STAR: u8 = 12;
/// After a `$` that may begin a dollar-quote's tag.
const TAG: u8 = 13;
const DOLLAR: u8 = 14;
/// Within a dollar-quote, after a `$` that may begin its closing tag.
const DOLLAR_TAG: u8 = 15;
/// After the zero byte: nothing counts any more.
const END: u8 = 16;
const STATES: usize = 32;

// Classes of bytes.
const OTHER: u8 = 0;
const DIGIT: u8 = 1;
const LETTER: u8 = 2;
const LETTER_E: u8 = 3;
const QUOTE: u8 = 4;
const DOUBLE: u8 = 5;
const MINUS: u8 = 6;
const DIVIDE: u8 = 7;
const STAR: u8 = 8;
const MONEY: u8 = 9;
const BACKSLASH: u8 = 10;
const NEWLINE: u8 = 11;
const DOT: u8 = 12;
const ZERO: u8 = 13;
const CLASSES: usize = 16;

/// What a step does with its byte, above the five bits of the next state: nothing, ...
const SKIP: u8 = 0;
/// ... hash it, ...
const KEEP: u8 = 1 << 5;
/// ... or hash `0` in place of it, for a number.
const MARK: u8 = KEEP | 1 << 6;

const fn class_of(byte: u8) -> u8 {
    match byte {
        0 => ZERO,
        b'0'..=b'9' => DIGIT,
        b'e' | b'E' => LETTER_E,
        b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80.. => LETTER,
        b'\'' => QUOTE,
        b'"' => DOUBLE,
        b'-' => MINUS,
        b'/' => DIVIDE,
        b'*' => STAR,
        b'$' => MONEY,
        b'\\' => BACKSLASH,
        b'\n' => NEWLINE,
        b'.' => DOT,
        _ => OTHER,
    }
}

/// A byte outside of strings, comments and words.
const fn plain(class: u8) -> u8 {
    match class {
        DIGIT => NUMBER | MARK,
        LETTER => WORD | KEEP,
        LETTER_E => WORD_E | KEEP,
        QUOTE => STRING | KEEP,
        DOUBLE => QUOTED | KEEP,
        MINUS => DASH | KEEP,
        DIVIDE => SLASH | KEEP,
        MONEY => TAG | KEEP,
        _ => PLAIN | KEEP,
    }
}

const fn step(state: u8, class: u8) -> u8 {
    let letter = class == LETTER || class == LETTER_E;
    if class == ZERO || state >= END {
        return END | SKIP;
    }
    match state {
        WORD if letter || class == DIGIT || class == MONEY => WORD | KEEP,
        WORD_E if class == QUOTE => ESCAPES | KEEP,
        WORD_E if letter || class == DIGIT || class == MONEY => WORD | KEEP,
        // Fractions, exponents, hexadecimals, underscores.
        NUMBER if class == DIGIT || letter || class == DOT => NUMBER | SKIP,
        STRING if class == QUOTE => PLAIN | SKIP,
        STRING => STRING | SKIP,
        ESCAPES if class == BACKSLASH => ESCAPED | SKIP,
        ESCAPES if class == QUOTE => PLAIN | SKIP,
        ESCAPES | ESCAPED => ESCAPES | SKIP,
        QUOTED if class == DOUBLE => PLAIN | KEEP,
        QUOTED => QUOTED | KEEP,
        DASH if class == MINUS => LINE | SKIP,
        LINE if class == NEWLINE => PLAIN | SKIP,
        LINE => LINE | SKIP,
        SLASH if class == STAR => BLOCK | SKIP,
        BLOCK if class == STAR => BLOCK_STAR | SKIP,
        BLOCK_STAR if class == DIVIDE => PLAIN | SKIP,
        BLOCK_STAR if class == STAR => BLOCK_STAR | SKIP,
        BLOCK | BLOCK_STAR => BLOCK | SKIP,
        // `$1` is a parameter; its number counts.
        TAG if class == DIGIT => WORD | KEEP,
        TAG if class == MONEY => DOLLAR | KEEP,
        TAG if letter => TAG | KEEP,
        DOLLAR if class == MONEY => DOLLAR_TAG | KEEP,
        DOLLAR_TAG if class == MONEY => PLAIN | KEEP,
        DOLLAR_TAG if letter => DOLLAR_TAG | KEEP,
        DOLLAR | DOLLAR_TAG => DOLLAR | KEEP,
        _ => plain(class),
    }
}

static CLASS: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = class_of(byte as u8);
        byte += 1;
    }
    table
};

static STEP: [u8; STATES * CLASSES] = {
    let mut table = [0; STATES * CLASSES];
    let mut i = 0;
    while i < table.len() {
        table[i] = step((i / CLASSES) as u8, (i % CLASSES) as u8);
        i += 1;
    }
    table
};

/// Shape of a text that ends at its first zero byte or with the array; never 0.
#[inline(always)]
pub fn shape(text: &[u8; LEN]) -> u64 {
    let mut hash = BASIS;
    let mut state = 0usize;
    for chunk in text.as_chunks::<CHUNK>().0 {
        for &byte in chunk {
            let step = STEP[(state << 4) | (CLASS[byte as usize] & 15) as usize] as u64;
            state = (step & 31) as usize;
            // Masks of all ones or all zeros.
            let keep = 0u64.wrapping_sub(step >> 5 & 1);
            let mark = 0u64.wrapping_sub(step >> 6 & 1);
            let seen = (byte as u64 & !mark) | (b'0' as u64 & mark);
            hash = ((hash ^ seen).wrapping_mul(PRIME) & keep) | (hash & !keep);
        }
        if state == END as usize {
            break;
        }
    }
    if hash == 0 { 1 } else { hash }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> u64 {
        let mut bytes = [0; LEN];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        shape(&bytes)
    }

    #[test]
    fn literals_and_comments_do_not_count() {
        for (a, b) in [
            ("SELECT a FROM t WHERE b = 1", "SELECT a FROM t WHERE b = 98765"),
            ("SELECT 1.5e10, 'x'", "SELECT 0x1F, 'it is long'"),
            (r"SELECT E'a\'b' FROM t", r"SELECT E'\\' FROM t"),
            ("SELECT a /* trace 1f */ FROM t", "SELECT a /* it's ** 2 */ FROM t"),
            ("SELECT a -- x\nFROM t", "SELECT a -- it's\nFROM t"),
        ] {
            assert_eq!(of(a), of(b), "{a} | {b}");
        }
    }

    #[test]
    fn names_parameters_and_what_follows_a_literal_count() {
        for (a, b) in [
            ("SELECT a1 FROM t", "SELECT a2 FROM t"),
            ("SELECT $1", "SELECT $2"),
            (r#"SELECT "a'b", x FROM t"#, r#"SELECT "a'b", y FROM t"#),
            ("SELECT 'x', a", "SELECT 'x', b"),
            (r"SELECT E'\'', a", r"SELECT E'\'', b"),
            (r"SELECT E'\\', a", r"SELECT E'\\', b"),
            ("SELECT $$it's$$, a FROM t", "SELECT $$it's$$, b FROM t"),
            ("SELECT $x$it's $ $$ $x$, 'a', a", "SELECT $x$it's $ $$ $x$, 'a', b"),
            ("SELECT a /* ' */, b", "SELECT a /* ' */, c"),
            ("SELECT 3 - 2, a", "SELECT 3 - 2, b"),
            ("SELECT a/b", "SELECT a/c"),
        ] {
            assert_ne!(of(a), of(b), "{a} | {b}");
        }
    }

    #[test]
    fn every_state_has_a_step_for_every_class() {
        for step in STEP {
            assert!((step & 31) <= END && step >> 7 == 0);
        }
        assert_ne!(of(""), 0);
    }
}
