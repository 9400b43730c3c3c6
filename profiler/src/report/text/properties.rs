//! Whatever a report holds, its text harms nobody and keeps to the width: reports may be read from files.

use std::sync::OnceLock;

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::report::fixture::edge;

/// Words that names may be made of: what a terminal acts on, what hides, turns around, joins, or takes two columns.
const PIECES: [&str; 14] = [
    "",
    "a",
    " ",
    "SELECT ",
    "\n",
    "\t",
    "\x1b[2J",
    "\u{9b}",
    "\u{202e}",
    "\u{200d}",
    "日本",
    "🐘",
    "e\u{301}",
    "❤\u{fe0f}",
];

/// Numbers at the edges.
const NUMBERS: [u64; 8] = [0, 1, 255, 65_535, u32::MAX as u64, 1 << 53, u64::MAX / 2, u64::MAX];

/// A generator of no quality (xorshift): the seed is what is random.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % n
    }
}

/// What fits the field of this name: 64 bits where it is measured in units of something, or counted, one less where it may
/// be negative.
fn numbers(name: &str) -> &'static [u64] {
    let counted = ["ns", "count", "max", "min", "bytes", "requests", "calls", "errors", "hits", "reads", "writes"];
    match name {
        "began_ns" => &NUMBERS[..NUMBERS.len() - 1],
        _ if name.ends_with("_ns") || name.ends_with("_bytes") || counted.contains(&name) => &NUMBERS,
        "p50" | "p90" | "p95" | "p99" | "p999" => &NUMBERS,
        _ => &NUMBERS[..4],
    }
}

/// Changes about one value in `rarely`: texts, numbers, what is there at all and how much of it.
fn shake(value: &mut Value, name: &str, dice: &mut Dice, rarely: usize) {
    let hit = dice.below(rarely) == 0;
    match value {
        Value::String(text) if hit => *text = (0..dice.below(40)).map(|_| PIECES[dice.below(PIECES.len())]).collect(),
        Value::Bool(one) if hit => *one = !*one,
        Value::Number(number) if hit => {
            let numbers = numbers(name);
            let new = numbers[dice.below(numbers.len())];
            *value = if number.is_f64() { Value::from(new as f64 - 1.5) } else { Value::from(new) };
        }
        Value::Array(all) => {
            if hit {
                let n = dice.below(30).min(all.len() * 30);
                *all = (0..n).map(|at| all[at % all.len()].clone()).collect();
            }
            all.iter_mut().for_each(|one| shake(one, name, dice, rarely));
        }
        Value::Object(fields) => fields.iter_mut().for_each(|(name, one)| shake(one, name, dice, rarely)),
        _ => {}
    }
}

/// A report like those at the edges, changed at random.
fn shaken(seed: u64, rarely: usize) -> Option<Report> {
    static EDGE: OnceLock<Value> = OnceLock::new();
    let mut value = EDGE.get_or_init(|| serde_json::to_value(edge::edge()).expect("a report is JSON")).clone();
    shake(&mut value, "", &mut Dice(seed | 1), rarely);
    serde_json::from_value(value).ok()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_report_fits_any_width(seed: u64, rarely in 2usize..60, width in 20usize..=200, top in 1usize..30) {
        let report = shaken(seed, rarely);
        prop_assert!(report.is_some(), "what was changed is no report any more");
        for line in render(&report.expect("just looked"), &TextOptions { top, width, colour: false }).lines() {
            prop_assert!(crate::words::width(line) <= width, "{width}: {line:?}");
            prop_assert!(!line.chars().any(crate::words::is_harmful), "{line:?}");
        }
    }
}
