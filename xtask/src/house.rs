//! `cargo xtask house`: rules about the sources themselves, which no compiler holds. Who may use whom, how long a file and a
//! function may be, what may be linked in, and where documents lead.

mod arrows;
mod licences;
mod links;
mod messages;
mod sizes;
mod source;

use anyhow::{Result, ensure};

/// One kind of rule: its name, and what breaks it, a sentence each.
type Rule = (&'static str, fn() -> Result<Vec<String>>);

const RULES: &[Rule] = &[
    ("who may use whom", arrows::check),
    ("lengths of files and functions", sizes::check),
    ("links of documents", links::check),
    ("messages", messages::check),
    ("licences of what is linked in", licences::check),
];

/// The list of messages, for `cargo xtask docs`.
pub use messages::write as write_messages;

pub fn run() -> Result<()> {
    let mut broken = 0;
    for (name, check) in RULES {
        let complaints = check()?;
        for complaint in &complaints {
            eprintln!("{name}: {complaint}");
        }
        broken += complaints.len();
    }
    ensure!(broken == 0, "{broken} places break a rule");
    Ok(())
}
