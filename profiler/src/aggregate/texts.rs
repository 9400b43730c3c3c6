//! Texts of statement classes: from the keys the kernel side knows to the classes people see.
//!
//! The kernel side tells statements apart by query id or by the shape of the text. Several shapes can be one class; they
//! are brought together by the server's query id or by pg_query's fingerprint.

mod age;

use std::collections::HashMap;

use super::numbered::Numbered;
use crate::postgres::sql::{self, How, Normalized};
use age::Key;

/// The class of statements whose class is not known.
pub const UNKNOWN: u32 = 0;
/// What did not fit.
pub const OTHER: u32 = 1;
/// As many are there for good.
const FIXED: u32 = 2;

/// Keys of the kernel side remembered; beyond it a key counts as unknown.
const MAX_KEYS: usize = 65_536;

/// Bytes of all texts together up to which each is kept whole.
const ROOM: usize = 16 << 20;

/// Bytes a text is cut at when there is no room for it. The server itself cuts at as many, unless
/// `track_activity_query_size` says otherwise.
const SHORT: usize = 1024;

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

#[cfg_attr(test, derive(Clone))]
pub struct Texts {
    show_literals: bool,
    classes: Numbered<ClassText>,
    /// Bytes of their texts.
    taken: usize,
    /// By key, and whether that is a query id.
    keys: HashMap<(u64, bool), Key>,
    fingerprints: HashMap<u64, u32>,
    /// When keys were last made to age: what is used from now on was used since then.
    aged_ns: u64,
}

impl Texts {
    pub fn new(show_literals: bool) -> Self {
        let fixed = |text: &str| ClassText { source: "none", text: text.into(), ..Default::default() };
        Self {
            show_literals,
            classes: Numbered::with([fixed("<unknown>"), fixed("<other>")]),
            taken: 0,
            keys: HashMap::new(),
            fingerprints: HashMap::new(),
            aged_ns: 0,
        }
    }

    pub fn get(&self, class: u32) -> &ClassText {
        self.classes.get(class).or_else(|| self.classes.get(UNKNOWN)).expect("the unknown class is there for good")
    }

    /// The class of a key; a key whose text is not here yet gets a class of its own.
    pub fn class(&mut self, key: u64, query_id: bool) -> u32 {
        if key == 0 {
            return UNKNOWN;
        }
        if let Some(known) = self.keys.get_mut(&(key, query_id)) {
            known.used_ns = self.aged_ns;
            self.classes.touch(known.class);
            return known.class;
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
        let fingerprint = normalized.fingerprint;
        let text = self.shown(bytes, cut, normalized);
        if let Some(known) = self.keys.get_mut(&(key, query_id)) {
            known.forgotten_ns = None;
        }
        if query_id {
            // pg_stat_activity shows query ids as signed numbers.
            let at = self.class(key, true);
            // Not into the class of all that did not fit.
            if at != OTHER && (full || self.get(at).cut) {
                self.put(at, text, cut);
            }
            return;
        }
        if full && let Some(&Key { class: at, .. }) = self.keys.get(&(key, false)) {
            let class = self.get(at);
            // The whole text must continue the cut one; else the backend had moved on.
            let known = class.text.trim_end_matches('…').trim_end();
            let head: String = known.chars().take(64).collect();
            if class.cut && text.starts_with(&head) {
                self.put(at, text, false);
            }
            return;
        }
        let class = match fingerprint {
            None => self.unparsable(text, cut),
            Some(fingerprint) => match self.fingerprints.get(&fingerprint) {
                Some(&class) => {
                    self.classes.touch(class);
                    class
                }
                None => {
                    let source = "fingerprint";
                    let class = self.add(ClassText { query_id: fingerprint.to_string(), source, text, cut });
                    // What did not fit is not remembered either: that would grow with every new statement.
                    if class != OTHER {
                        self.fingerprints.insert(fingerprint, class);
                    }
                    class
                }
            },
        };
        self.remember(key, false, class);
    }

    /// A text as it may be shown.
    pub fn show(&self, bytes: &[u8], cut: bool) -> String {
        self.shown(bytes, cut, sql::normalize(bytes, cut))
    }

    fn shown(&self, bytes: &[u8], cut: bool, normalized: Normalized) -> String {
        if self.show_literals {
            let mut text = String::from_utf8_lossy(bytes).into_owned();
            if cut {
                text.push('…');
            }
            return text;
        }
        if normalized.how == How::Unparsable { sql::UNPARSABLE.into() } else { normalized.text }
    }

    /// All unparsable texts are one class, unless literals are shown.
    fn unparsable(&mut self, text: String, cut: bool) -> u32 {
        if self.show_literals {
            return self.add(ClassText { source: "none", text, cut, ..Default::default() });
        }
        match self.fingerprints.get(&0) {
            Some(&class) => {
                self.classes.touch(class);
                class
            }
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
        let (text, cut) = (class.text, class.cut);
        let at = self.classes.add(ClassText { text: String::new(), ..class });
        self.put(at, text, cut);
        at
    }

    /// Gives a class its text, as much of it as there is room for.
    fn put(&mut self, class: u32, mut text: String, mut cut: bool) {
        let Some(class) = self.classes.get_mut(class) else { return };
        self.taken -= class.text.len();
        if text.len() > SHORT && self.taken + text.len() > ROOM {
            text.truncate(text.floor_char_boundary(SHORT));
            text.push('…');
            cut = true;
        }
        text.shrink_to_fit();
        self.taken += text.len();
        (class.text, class.cut) = (text, cut);
    }

    fn remember(&mut self, key: u64, query_id: bool, class: u32) -> u32 {
        if self.keys.len() < MAX_KEYS || self.keys.contains_key(&(key, query_id)) {
            self.keys.insert((key, query_id), Key { class, used_ns: self.aged_ns, forgotten_ns: None });
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
    fn texts_without_room_are_cut_and_say_so() {
        let mut texts = Texts::new(true);
        let long = |class: u64| format!("SELECT {class} -- {}", "é".repeat(30_000));
        for class in 1..1_500 {
            texts.learn(class, true, long(class).as_bytes(), false, true);
        }
        let classes: Vec<u32> = (1..1_500).map(|key| texts.class(key, true)).collect();
        let kept: Vec<_> = classes.into_iter().map(|class| texts.get(class)).collect();
        assert!(kept[0].text.len() > 60_000 && !kept[0].cut);
        let last = &kept[1_498];
        assert!(last.text.len() <= SHORT + '…'.len_utf8() && last.text.ends_with('…') && last.cut, "{last:?}");
        assert!(kept.iter().map(|class| class.text.len()).sum::<usize>() <= ROOM + 1_500 * 2 * SHORT);
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
