//! The shape of a statement: a hash of its text that does not see literals or comments.
//!
//! A server that computes no query id leaves only the text to tell statements apart, and texts differ by their literals.
//! The shape drops what pg_query's fingerprint would drop anyway, cheaply, so that a text goes to userspace once per
//! shape. Two texts of one class may have two shapes; two texts of one shape are meant to be of one class.
//!
//! It is a table-driven automaton that takes eight bytes at once where none of them means anything, and otherwise has no
//! data-dependent branch within a word: that suits the CPU, and the verifier, which would follow every path. The lexical rules are those of src/backend/parser/scan.l
//! with standard_conforming_strings on.

/// Bytes of a text that are looked at: the default of `track_activity_query_size`.
pub const LEN: usize = 1024;

/// [`LEN`] in words, which is how the text is read.
pub const WORDS: usize = LEN / 8;

/// The hash is a polynomial of the kept bytes with this base, modulo 2⁵⁹: it can be continued by one byte or by eight
/// with the same result. Odd, and below 256, so that eight terms need no more than 64 bits ([`polynomial`]).
const BASE: u64 = 251;
/// What an empty text has.
const SEED: u64 = 0xcbf2_9ce4_8422_2325;

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

/// The automaton in a form without a decision: in each entry, from the low bits on, the next state, and three bytes: what
/// the hash is multiplied with, what of the byte is added to it, and what is added in its place.
static STEP: [u32; STATES * CLASSES] = {
    let mut table = [0; STATES * CLASSES];
    let mut i = 0;
    while i < table.len() {
        let step = step((i / CLASSES) as u8, (i % CLASSES) as u8);
        let (factor, byte, instead) = match step & MARK {
            SKIP => (1, 0, 0),
            KEEP => (BASE as u32, 0xff, 0),
            _ => (BASE as u32, 0, b'0' as u32),
        };
        table[i] = (step & 31) as u32 | factor << 8 | byte << 16 | instead << 24;
        i += 1;
    }
    table
};

/// Bits of the automaton's state: below the hash, where the two are one number.
const STATE_BITS: u32 = 5;
const STATE: u64 = (1 << STATE_BITS) - 1;

const fn entry(state: u64, byte: u64) -> u64 {
    STEP[(state << 4 | (CLASS[(byte & 0xff) as usize] & 15) as u64) as usize] as u64
}

/// `byte` in each of the eight bytes.
const fn each(byte: u8) -> u64 {
    byte as u64 * 0x0101_0101_0101_0101
}

/// 0 if all eight bytes are letters, blanks, parentheses, commas, dots and the like, which mean nothing by themselves
/// and are kept outside of strings and comments. Digits are not among them, nor what begins or ends anything.
const fn extraordinary(word: u64) -> u64 {
    /// The high bit of each byte that is equal to `byte`, under `mask`.
    const fn equal(word: u64, mask: u8, byte: u8) -> u64 {
        let differs = (word & each(mask)) ^ each(byte);
        !(((differs & each(0x7f)) + each(0x7f)) | differs)
    }
    // From `:` on, with all letters; ` `; `(` to `+`; `,`; `.`.
    let letters = ((word & each(0x7f)) + each(0x80 - b':')) | word;
    let others = equal(word, 0xff, b' ') | equal(word, 0xfc, b'(') | equal(word, 0xff, b',') | equal(word, 0xff, b'.');
    !(letters | others) & each(0x80)
}

/// Value of eight bytes, the first in memory with the highest power of [`BASE`].
const fn polynomial(word: u64) -> u64 {
    const BYTES: u64 = 0x00ff_00ff_00ff_00ff;
    const PAIRS: u64 = 0x0000_ffff_0000_ffff;
    let pairs = (word & BYTES) * BASE + (word >> 8 & BYTES);
    let fours = (pairs & PAIRS) * BASE.pow(2) + (pairs >> 16 & PAIRS);
    (fours & 0xffff_ffff) * BASE.pow(4) + (fours >> 32)
}

/// Eight bytes, from a hash and a state to those after them.
#[inline(always)]
fn advance(word: u64, mut hash: u64, mut now: u64) -> (u64, u64) {
    // One condition, for the verifier: two would be two ways into the second branch.
    let between = (now + (31 - WORD_E as u64)) >> 5;
    if between | extraordinary(word) == 0 {
        hash = hash.wrapping_mul(BASE.pow(8)).wrapping_add(polynomial(word));
        // No more than the last two bytes decide: a word, the word `e`, or neither.
        now = entry(entry(PLAIN as u64, word >> 48) & STATE, word >> 56) & STATE;
    } else {
        let mut rest = word;
        for _ in 0..8 {
            let entry = entry(now, rest);
            now = entry & STATE;
            let seen = (rest & 0xff & entry >> 16) | entry >> 24;
            hash = hash.wrapping_mul(entry >> 8 & 0xff).wrapping_add(seen);
            rest >>= 8;
        }
    }
    (hash, now)
}

const fn key_of(hash: u64) -> u64 {
    let key = hash & u64::MAX >> STATE_BITS;
    if key == 0 { 1 } else { key }
}

/// Shape of a text that ends at its first zero byte or with the array; never 0. Little-endian, as the text is in memory.
///
/// `state` is the automaton's state between two words. It is kept in the caller's memory, where the verifier does not
/// follow its value: both ways through a word then end alike, and it looks at each word but two or three times.
#[inline(always)]
pub fn shape(text: &[u64; WORDS], state: &mut u64) -> u64 {
    let mut hash = SEED;
    *state = PLAIN as u64;
    for &word in text {
        // SAFETY: a plain reference.
        let mut now = unsafe { core::ptr::read_volatile(state) } & STATE;
        (hash, now) = advance(word, hash, now);
        // SAFETY: as above.
        unsafe { core::ptr::write_volatile(state, now) };
        if now == END as u64 {
            break;
        }
    }
    key_of(hash)
}

/// The same where the verifier's time counts and not that of the CPU, which makes a call for each word: `word` is [`word`] as a
/// function of its own, at which the verifier looks once.
#[inline(always)]
pub fn shape_by_calls(text: &[u64; WORDS], word: impl Fn(u64, u64) -> u64) -> u64 {
    let mut both = SEED << STATE_BITS | PLAIN as u64;
    for &eight in text {
        both = word(eight, both);
        if both & STATE == END as u64 {
            break;
        }
    }
    key_of(both >> STATE_BITS)
}

/// Eight bytes, from a hash with the state below it to those after them.
#[inline(always)]
pub fn word(word: u64, both: u64) -> u64 {
    let (hash, now) = advance(word, both >> STATE_BITS, both & STATE);
    hash << STATE_BITS | now
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::format;

    use super::*;

    fn words(text: &str) -> [u64; WORDS] {
        let mut bytes = [0; LEN];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        core::array::from_fn(|i| u64::from_le_bytes(*bytes[8 * i..].first_chunk().unwrap()))
    }

    fn of(text: &str) -> u64 {
        let words = words(text);
        let key = shape(&words, &mut 0);
        assert_eq!(shape_by_calls(&words, word), key, "{text}");
        key
    }

    /// The definition, a byte at a time.
    fn by_bytes(text: &str) -> u64 {
        let (mut hash, mut state) = (SEED, PLAIN);
        for &byte in text.as_bytes() {
            let step = step(state, class_of(byte));
            state = step & 31;
            if step & KEEP != 0 {
                let seen = if step & MARK == MARK { b'0' } else { byte };
                hash = hash.wrapping_mul(BASE).wrapping_add(seen as u64);
            }
        }
        key_of(hash)
    }

    #[test]
    fn eight_bytes_at_a_time_or_one() {
        let texts = [
            "SELECT abalance FROM pgbench_accounts WHERE aid = 12345;",
            "select count(*), max(t.a), 'it''s', e'\\', e FROM a.b, c -- the end\nWHERE a.e IN (1, 2, 3) /* x */ or e",
            "WITH x AS (SELECT $1::text, $$body 'e'$$) TABLE \"Größe der Tür\"",
        ];
        for text in texts {
            // Every alignment.
            for blanks in 0..8 {
                let text = format!("{}{text}", &"        "[..blanks]);
                assert_eq!(of(&text), by_bytes(&text), "{text}");
            }
        }
    }

    #[test]
    fn ordinary_bytes_are_kept_and_end_in_a_state_of_words() {
        for byte in 0..=255u8 {
            if extraordinary(u64::from_le_bytes([byte; 8])) == 0 {
                for state in [PLAIN, WORD, WORD_E] {
                    let step = step(state, class_of(byte));
                    assert!(step & MARK == KEEP && step & 31 <= WORD_E, "{byte:#x} in state {state}");
                }
            }
            // One byte that is not ordinary is seen in every place.
            for place in 0..8 {
                let mut bytes = [b'a'; 8];
                bytes[place] = byte;
                let (one, all) = (u64::from_le_bytes(bytes), u64::from_le_bytes([byte; 8]));
                assert_eq!(extraordinary(one) == 0, extraordinary(all) == 0, "{byte:#x}");
            }
        }
        assert_eq!(extraordinary(u64::from_le_bytes(*b"t.a, (b ")), 0);
        assert_ne!(extraordinary(u64::from_le_bytes(*b"t.a = 1 ")), 0);
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
        for entry in STEP {
            assert!((entry & 31) as u8 <= END && [1, BASE as u32].contains(&(entry >> 8 & 0xff)));
        }
        assert_ne!(of(""), 0);
    }
}
