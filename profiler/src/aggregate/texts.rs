//! Texts of statement classes: from the keys the kernel side knows to the classes people see.
//!
//! The kernel side tells statements apart by query id or by the shape of the text. Several shapes can be one class; they
//! are brought together by the server's query id or by pg_query's fingerprint.

use std::collections::HashMap;

use crate::postgres::sql::{self, How};

/// The class of statements whose class is not known.
pub const UNKNOWN: u32 = 0;
/// What did not fit.
pub const OTHER: u32 = 1;

/// Keys of the kernel side remembered; beyond it a key counts as unknown.
const MAX_KEYS: usize = 65_536;

/// A class as people see it.
#[derive(Clone, Debug, Default)]
pub struct ClassText {
    /// Decimal query id, or fingerprint.
    pub query_id: String,
    /// `server`, `fingerprint` or `none`.
    pub source: &'static str,
    pub text: String,
    pub cut: bool,
}

pub struct Texts {
    show_literals: bool,
    classes: Vec<ClassText>,
    keys: HashMap<(u64, bool), u32>,
    fingerprints: HashMap<u64, u32>,
}

impl Texts {
    pub fn new(show_literals: bool) -> Self {
        let fixed = |text: &str| ClassText { source: "none", text: text.into(), ..Default::default() };
        Self {
            show_literals,
            classes: vec![fixed("<unknown>"), fixed("<other>")],
            keys: HashMap::new(),
            fingerprints: HashMap::new(),
        }
    }

    pub fn get(&self, class: u32) -> &ClassText {
        self.classes.get(class as usize).unwrap_or(&self.classes[UNKNOWN as usize])
    }

    /// The class of a key; a key whose text is not here yet gets a class of its own.
    pub fn class(&mut self, key: u64, query_id: bool) -> u32 {
        if key == 0 {
            return UNKNOWN;
        }
        if let Some(&class) = self.keys.get(&(key, query_id)) {
            return class;
        }
        let class = if query_id {
            self.add(ClassText {
                query_id: (key as i64).to_string(),
                source: "server",
                text: "<text not seen>".into(),
                cut: true,
            })
        } else {
            UNKNOWN
        };
        self.remember(key, query_id, class)
    }

    /// Takes the text of a key.
    pub fn learn(&mut self, key: u64, query_id: bool, bytes: &[u8], cut: bool, full: bool) {
        let normalized = sql::normalize(bytes, cut);
        let text = self.show(bytes, cut);
        if query_id {
            // pg_stat_activity shows query ids as signed numbers.
            let class = self.class(key, true);
            let class = &mut self.classes[class as usize];
            if full || class.cut {
                (class.text, class.cut) = (text, cut);
            }
            return;
        }
        if full && let Some(&class) = self.keys.get(&(key, false)) {
            let class = &mut self.classes[class as usize];
            // The whole text must continue the cut one; else the backend had moved on.
            let known = class.text.trim_end_matches('…').trim_end();
            let head: String = known.chars().take(64).collect();
            if class.cut && text.starts_with(&head) {
                (class.text, class.cut) = (text, false);
            }
            return;
        }
        let class = match normalized.fingerprint {
            None => self.unparsable(text, cut),
            Some(fingerprint) => match self.fingerprints.get(&fingerprint) {
                Some(&class) => class,
                None => {
                    let source = "fingerprint";
                    let class = self.add(ClassText { query_id: fingerprint.to_string(), source, text, cut });
                    self.fingerprints.insert(fingerprint, class);
                    class
                }
            },
        };
        self.remember(key, false, class);
    }

    /// A text as it may be shown.
    pub fn show(&self, bytes: &[u8], cut: bool) -> String {
        if self.show_literals {
            let mut text = String::from_utf8_lossy(bytes).into_owned();
            if cut {
                text.push('…');
            }
            return text;
        }
        let normalized = sql::normalize(bytes, cut);
        if normalized.how == How::Unparsable { sql::UNPARSABLE.into() } else { normalized.text }
    }

    /// All unparsable texts are one class, unless literals are shown.
    fn unparsable(&mut self, text: String, cut: bool) -> u32 {
        if self.show_literals {
            return self.add(ClassText { source: "none", text, cut, ..Default::default() });
        }
        match self.fingerprints.get(&0) {
            Some(&class) => class,
            None => {
                let class = self.add(ClassText { source: "none", text, cut, ..Default::default() });
                self.fingerprints.insert(0, class);
                class
            }
        }
    }

    fn add(&mut self, class: ClassText) -> u32 {
        if self.classes.len() >= super::MAX_CLASSES {
            return OTHER;
        }
        self.classes.push(class);
        self.classes.len() as u32 - 1
    }

    fn remember(&mut self, key: u64, query_id: bool, class: u32) -> u32 {
        if self.keys.len() < MAX_KEYS {
            self.keys.insert((key, query_id), class);
        }
        class
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_of_one_fingerprint_are_one_class() {
        let mut texts = Texts::new(false);
        texts.learn(1, false, b"SELECT a FROM t WHERE b = 1", false, false);
        texts.learn(2, false, b"select  a from t where b = 2 -- x", false, false);
        let (first, second) = (texts.class(1, false), texts.class(2, false));
        assert_eq!(first, second);
        assert_eq!(texts.get(first).text, "SELECT a FROM t WHERE b = $1");
    }

    #[test]
    fn a_whole_text_replaces_a_cut_one_only_if_it_continues_it() {
        let mut texts = Texts::new(false);
        texts.learn(7, false, b"SELECT aaa, bbb, ccc FROM t WHERE x = 1 AND ", true, false);
        texts.learn(7, false, b"SELECT zzz FROM other", false, true);
        let class = texts.class(7, false);
        assert!(texts.get(class).cut);
        texts.learn(7, false, b"SELECT aaa, bbb, ccc FROM t WHERE x = 1 AND y = 2", false, true);
        assert!(!texts.get(class).cut);
    }
}
