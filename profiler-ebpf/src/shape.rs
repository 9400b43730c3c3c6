//! The shape of a statement: a hash of its text that does not see literals or comments.
//!
//! A server that computes no query id leaves only the text to tell statements apart, and texts differ by their literals.
//! The shape is what pg_query's fingerprint would not tell apart anyway, taken cheaply, so that a text goes to userspace
//! once per shape. Two texts of one class may have two shapes; two texts of one shape are never of two classes.

/// Bytes of the text that are looked at.
pub const LEN: usize = 1024;

const PLAIN: u32 = 0;
const NUMBER: u32 = 1;
const STRING: u32 = 2;
const ESCAPED: u32 = 3;
const QUOTED: u32 = 4;
const LINE: u32 = 5;
const BLOCK: u32 = 6;
/// Within `$tag$ … $tag$`: kept, but its quotes mean nothing.
const DOLLAR: u32 = 7;
/// Within the closing tag, perhaps.
const DOLLAR_END: u32 = 8;

/// Offset basis and prime of the 64-bit FNV-1a hash.
const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

#[inline(always)]
const fn letter(c: u8) -> bool {
    (c | 0x20).wrapping_sub(b'a') < 26 || c == b'_' || c >= 0x80
}

/// Shape of `text[..len]`; never 0.
#[inline(always)]
pub fn shape(text: &[u8; LEN], len: usize) -> u64 {
    let mut hash = BASIS;
    let mut state = PLAIN;
    let mut last = 0u8;
    let mut word = false;
    let mut tag = false;
    for (i, &c) in text.iter().enumerate() {
        if i >= len || c == 0 {
            break;
        }
        let mut keep = true;
        match state {
            STRING => {
                keep = false;
                if c == b'\'' {
                    state = PLAIN;
                }
            }
            ESCAPED => {
                keep = false;
                if c == b'\'' && last != b'\\' {
                    state = PLAIN;
                } else if c == b'\\' && last == b'\\' {
                    last = 0;
                    continue;
                }
            }
            QUOTED => {
                if c == b'"' {
                    state = PLAIN;
                }
            }
            LINE => {
                keep = false;
                if c == b'\n' {
                    state = PLAIN;
                }
            }
            BLOCK => {
                keep = false;
                if c == b'/' && last == b'*' {
                    state = PLAIN;
                }
            }
            DOLLAR => {
                if c == b'$' {
                    state = DOLLAR_END;
                }
            }
            DOLLAR_END => {
                if c == b'$' {
                    state = PLAIN;
                } else if !letter(c) {
                    state = DOLLAR;
                }
            }
            _ => {
                let digit = c.wrapping_sub(b'0') < 10;
                if digit && !word {
                    // The first digit stands for the number.
                    keep = state != NUMBER;
                    state = NUMBER;
                } else if state == NUMBER && (c == b'.' || letter(c)) {
                    // Fractions, exponents, hexadecimals, underscores.
                    keep = false;
                } else {
                    state = PLAIN;
                    if c == b'\'' {
                        state = if word && last | 0x20 == b'e' { ESCAPED } else { STRING };
                    } else if c == b'"' {
                        state = QUOTED;
                    } else if c == b'-' && last == b'-' {
                        state = LINE;
                    } else if c == b'*' && last == b'/' {
                        state = BLOCK;
                    }
                    if c == b'$' {
                        if tag {
                            state = DOLLAR;
                        }
                        tag = !tag && !word;
                    } else if !letter(c) {
                        tag = false;
                    }
                    word = digit || letter(c) || c == b'$';
                }
            }
        }
        if keep {
            let seen = if state == NUMBER { b'0' } else { c };
            hash = (hash ^ seen as u64).wrapping_mul(PRIME);
        }
        last = c;
    }
    if hash == 0 { 1 } else { hash }
}
