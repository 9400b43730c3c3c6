//! The words of the report: closed lists of names, each written once.
//!
//! A list is an enum whose variants have their names in the JSON. What measures uses the variants, what judges and shows
//! compares them, so that a name that is gone does not compile. In the report a name is a [`Word`], since a file may be
//! of a later version, which knows more of them.
//!
//! Nothing here depends on any other part of pgstrobe.

mod causes;
mod roles;
mod storage;
mod verdicts;
mod word;

pub use causes::*;
pub use roles::*;
pub use storage::*;
pub use verdicts::*;
pub use word::{Term, Word};

/// Defines a list of names: an enum with [`Term`].
macro_rules! vocabulary {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$doc])* #[doc = concat!("`", $text, "`")] $variant,)+
        }

        impl $name {
            /// Its name in the report.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }

        impl $crate::vocabulary::Term for $name {
            const ALL: &'static [Self] = &[$(Self::$variant,)+];

            fn name(self) -> &'static str {
                $name::name(self)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.name())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }

        /// Only a name of the list: where others may come, [`Word`] reads them.
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let name = <String as serde::Deserialize>::deserialize(deserializer)?;
                $crate::vocabulary::Term::named(&name)
                    .ok_or_else(|| serde::de::Error::custom(format!("unknown name `{name}`")))
            }
        }

        impl PartialEq<$name> for $crate::vocabulary::Word<$name> {
            fn eq(&self, other: &$name) -> bool {
                self.known() == Some(*other)
            }
        }
    };
}

use vocabulary;
