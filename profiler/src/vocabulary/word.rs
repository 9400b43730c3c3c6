//! A name in a report: one of a list, or one that a later version of pgstrobe wrote.

use std::{fmt, ops::Deref};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A closed list of names.
pub trait Term: Copy + Eq + 'static {
    /// Every one, in the order of the list.
    const ALL: &'static [Self];

    /// Its name in the report.
    fn name(self) -> &'static str;

    /// The one of this name.
    fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|one| one.name() == name)
    }
}

/// A name of the list `T` as a report holds it. It reads as its name, and compares with a variant of `T`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Word<T> {
    Known(T),
    /// Of a later version, or empty where a file does not say.
    Unknown(String),
}

impl<T: Term> Word<T> {
    /// The variant, if this version knows it.
    pub fn known(&self) -> Option<T> {
        match self {
            Self::Known(term) => Some(*term),
            Self::Unknown(_) => None,
        }
    }

    /// As in the JSON.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Known(term) => term.name(),
            Self::Unknown(name) => name,
        }
    }
}

impl<T: Term> Deref for Word<T> {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl<T: Term> AsRef<str> for Word<T> {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

/// For those who read a report from outside, as a user does; pgstrobe itself compares with variants.
impl<T: Term> PartialEq<str> for Word<T> {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl<T: Term> PartialEq<&str> for Word<T> {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl<T: Term> From<&Word<T>> for String {
    fn from(word: &Word<T>) -> Self {
        word.as_str().into()
    }
}

impl<T> Default for Word<T> {
    fn default() -> Self {
        Self::Unknown(String::new())
    }
}

impl<T> From<T> for Word<T> {
    fn from(term: T) -> Self {
        Self::Known(term)
    }
}

impl<T: Term> fmt::Display for Word<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl<T: Term> fmt::Debug for Word<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// By name.
impl<T: Term> Ord for Word<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl<T: Term> PartialOrd for Word<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T: Term> Serialize for Word<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de, T: Term> Deserialize<'de> for Word<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Ok(T::named(&name).map_or(Self::Unknown(name), Self::Known))
    }
}

/// Any text, of which these names are known.
#[cfg(test)]
impl<T: Term> schemars::JsonSchema for Word<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        std::any::type_name::<T>().into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let names: Vec<_> = T::ALL.iter().map(|one| one.name()).collect();
        schemars::json_schema!({"anyOf": [{"enum": names}, {"type": "string"}]})
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::vocabulary::*;

    fn is_a_list<T: Term + fmt::Debug>() {
        let mut seen = BTreeSet::new();
        for one in T::ALL {
            assert!(seen.insert(one.name()), "{one:?} has the name of another one");
            assert_eq!(T::named(one.name()), Some(*one));
            let json = serde_json::to_string(&Word::from(*one)).unwrap();
            assert_eq!(json, format!("\"{}\"", one.name()));
            assert_eq!(serde_json::from_str::<Word<T>>(&json).unwrap(), Word::Known(*one));
        }
    }

    #[test]
    fn each_name_is_one_variant() {
        is_a_list::<State>();
        is_a_list::<Cause>();
        is_a_list::<Role>();
        is_a_list::<BlockerState>();
        is_a_list::<Operation>();
        is_a_list::<OwnerKind>();
        is_a_list::<FileKind>();
        is_a_list::<Fork>();
        is_a_list::<SyncCall>();
        is_a_list::<CheckpointCause>();
        is_a_list::<Severity>();
        is_a_list::<Confidence>();
    }

    #[test]
    fn a_name_of_a_later_version_stays_as_it_is() {
        let word: Word<Cause> = serde_json::from_str("\"quantum_tunnel\"").unwrap();
        assert_eq!((word.known(), word.as_str()), (None, "quantum_tunnel"));
        assert_eq!(serde_json::to_string(&word).unwrap(), "\"quantum_tunnel\"");
        let other: Word<Cause> = Cause::Other.into();
        assert!(word != Cause::Other && other == Cause::Other);
    }
}
