//! Links of the documents lead somewhere: to a file of the repository, and to a heading in it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

const PLACES: [&str; 4] = [".", "docs", "docs/design", "docs/journal"];

pub fn check() -> Result<Vec<String>> {
    let mut complaints = Vec::new();
    for place in PLACES {
        let entries = std::fs::read_dir(place).with_context(|| place.to_owned())?;
        let mut documents: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        documents.retain(|path| path.extension().is_some_and(|suffix| suffix == "md"));
        documents.sort();
        for document in documents {
            let text = std::fs::read_to_string(&document)?;
            for link in links(&text).filter(|link| !link.contains("://")) {
                if let Err(reason) = leads(&document, link) {
                    complaints.push(format!("{}: the link `{link}` {reason}", document.display()));
                }
            }
        }
    }
    Ok(complaints)
}

/// What stands in `](…)`, outside of code blocks.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let blocks = text.split("```").step_by(2);
    blocks.flat_map(|block| block.split("](").skip(1)).filter_map(|rest| rest.split(')').next())
}

fn leads(from: &Path, link: &str) -> Result<(), String> {
    let (file, heading) = link.split_once('#').unwrap_or((link, ""));
    let path = if file.is_empty() { from.to_owned() } else { from.parent().unwrap_or(Path::new(".")).join(file) };
    if !path.exists() {
        return Err("leads to no file".into());
    }
    let text = || std::fs::read_to_string(&path).map_err(|error| format!("cannot be followed: {error}"));
    match heading.is_empty()
        || text()?.lines().filter_map(|line| line.strip_prefix('#')).any(|line| slug(line) == heading)
    {
        true => Ok(()),
        false => Err("leads to no heading".into()),
    }
}

/// A heading as it stands in a link: small letters, blanks as hyphens, no punctuation.
fn slug(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_headings() {
        let text = "[a](b.md) and [c](d.md#e)\n```\nx](no)\n```\n[f](#g)";
        assert_eq!(links(text).collect::<Vec<_>>(), ["b.md", "d.md#e", "#g"]);
        assert_eq!(slug("# The house: who may `use` what"), "the-house-who-may-use-what");
    }
}
