//! What the output of libtest says: how many tests passed, which failed, and where and why.

/// One test that failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failure {
    pub name: String,
    /// `FILE:LINE: MESSAGE` of its panic, the first line of it and the values it compares; empty where it said nothing.
    pub why: String,
}

impl Failure {
    pub fn describe(&self) -> String {
        match self.why.is_empty() {
            true => self.name.clone(),
            false => format!("{} ({})", self.name, self.why),
        }
    }
}

/// Longest message in a summary, in characters.
const LONGEST: usize = 200;

/// Fed line by line with the output of one test program after the other.
#[derive(Debug, Default)]
pub struct Tally {
    pub passed: usize,
    pub failed: usize,
    pub failures: Vec<Failure>,
    /// Of the program that runs: tests that failed, up to its account of them.
    named: Vec<String>,
    /// The account of which failure this is, and how much of it was seen.
    reading: Option<(usize, Panic)>,
}

#[derive(Debug, PartialEq, Eq)]
enum Panic {
    Awaited,
    At(String),
    /// Of two values that should be equal: they follow.
    Values,
}

impl Tally {
    pub fn line(&mut self, line: &str) {
        if let Some(rest) = line.strip_prefix("test result: ") {
            self.passed += number_before(rest, " passed");
            self.failed += number_before(rest, " failed");
            self.reading = None;
            // Those that left no account.
            let silent = self.named.drain(..).map(|name| Failure { name, why: String::new() });
            self.failures.extend(silent);
        } else if let Some(name) = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED")) {
            self.named.push(name.to_owned());
        } else if let Some(name) = line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----")) {
            self.named.retain(|named| named != name);
            self.reading = Some((self.failures.len(), Panic::Awaited));
            self.failures.push(Failure { name: name.to_owned(), why: String::new() });
        } else if let Some((at, panic)) = &mut self.reading {
            match panic {
                Panic::Awaited => {
                    let Some((_, place)) = line.split_once(" panicked at ") else { return };
                    // `FILE:LINE:COLUMN:`, and the message on the next line.
                    let place = place.trim_end_matches(':').rsplit_once(':').map_or(place, |(place, _)| place);
                    *panic = Panic::At(place.to_owned());
                }
                Panic::At(place) => {
                    self.failures[*at].why = format!("{place}: {}", first(line));
                    *panic = Panic::Values;
                }
                Panic::Values => match line.trim_start() {
                    value if value.starts_with("left: ") || value.starts_with("right: ") => {
                        self.failures[*at].why += &format!(" {}", first(value));
                    }
                    _ => self.reading = None,
                },
            }
        }
    }
}

/// As much of a line as a summary holds.
fn first(line: &str) -> String {
    line.chars().take(LONGEST).collect()
}

/// The number that stands right before `word`.
fn number_before(text: &str, word: &str) -> usize {
    let Some(end) = text.find(word) else { return 0 };
    text[..end].rsplit(|c: char| !c.is_ascii_digit()).next().and_then(|n| n.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two programs with a test of the same name, and one that is killed before it gives an account.
    const OUTPUT: &str = "\
running 3 tests
test debian_17 ... FAILED
test own ... ok
test quiet ... FAILED

failures:

---- debian_17 stdout ----
socket: p50 12 ns

thread 'debian_17' (4711) panicked at tests/tests/builds.rs:288:5:
socket: late by 3 ns
note: run with `RUST_BACKTRACE=1`

failures:
    debian_17

test result: FAILED. 12 passed; 2 failed; 0 ignored
test debian_17 ... FAILED
---- debian_17 stdout ----
thread 'debian_17' panicked at tests/tests/checkpoint_builds.rs:60:5:
assertion `left == right` failed
  left: 1
test result: FAILED. 0 passed; 1 failed; 0 ignored";

    #[test]
    fn failures_have_their_place_and_reason() {
        let mut tally = Tally::default();
        OUTPUT.lines().for_each(|line| tally.line(line));
        assert_eq!((tally.passed, tally.failed), (12, 3));
        let failures: Vec<String> = tally.failures.iter().map(Failure::describe).collect();
        let expected = [
            "debian_17 (tests/tests/builds.rs:288: socket: late by 3 ns)",
            "quiet",
            "debian_17 (tests/tests/checkpoint_builds.rs:60: assertion `left == right` failed left: 1)",
        ];
        assert_eq!(failures, expected);
    }
}
