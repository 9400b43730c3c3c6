//! The whole text of the sample reports, as committed files: the diff of a change shows what readers will see.
//!
//! `UPDATE_EXPECT=1 cargo test -p pgstrobe --lib golden` writes the files anew.

use expect_test::{ExpectFile, expect_file};

use super::{TextOptions, render};
use crate::report::{
    fixture::{self, edge},
    model::Report,
};

fn is(report: &Report, width: usize, golden: ExpectFile) {
    golden.assert_eq(&render(report, &TextOptions { top: 10, width, colour: false }));
}

#[test]
fn busy() {
    let report = fixture::busy();
    is(&report, 40, expect_file!["golden/busy-40.txt"]);
    is(&report, 80, expect_file!["golden/busy-80.txt"]);
    is(&report, 120, expect_file!["golden/busy-120.txt"]);
    is(&report, 250, expect_file!["golden/busy-250.txt"]);
}

#[test]
fn busy_in_colour() {
    let text = render(&fixture::busy(), &TextOptions { top: 2, width: 100, colour: true });
    expect_file!["golden/busy-100-colour.txt"].assert_eq(&text.replace('\x1b', "ESC"));
}

#[test]
fn idle_and_empty() {
    is(&fixture::idle(), 80, expect_file!["golden/idle-80.txt"]);
    is(&Report::default(), 80, expect_file!["golden/empty-80.txt"]);
}

#[test]
fn edges() {
    let report = edge::edge();
    is(&report, 80, expect_file!["golden/edge-80.txt"]);
    is(&report, 160, expect_file!["golden/edge-160.txt"]);
}

#[test]
fn hostile_names() {
    let report = edge::hostile();
    is(&report, 80, expect_file!["golden/hostile-80.txt"]);
    is(&report, 200, expect_file!["golden/hostile-200.txt"]);
}
