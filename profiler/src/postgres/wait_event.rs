//! `wait_event_info` to the names that `pg_stat_activity` shows, for the server's own major version.
//!
//! The numbers move between versions (a new event shifts those after it), so a profile decodes with the table of the
//! version it looked at. The tables are what a server of each version answers (`cargo xtask codegen`).

use std::borrow::Cow;

#[rustfmt::skip]
mod names;

/// Events by class and number; empty where a number is not an event of this version.
type Names = [&'static [&'static str]; 12];

/// Class and number in a `wait_event_info` (src/backend/utils/activity/wait_event.c; src/include/pgstat.h in 13).
const CLASS_SHIFT: u32 = 24;
const EVENT_MASK: u32 = 0xFFFF;

/// `PG_WAIT_*` (src/include/utils/wait_classes.h; wait_event.h and pgstat.h before 17).
pub const CLASS_LWLOCK: u32 = 0x01;
pub const CLASS_LOCK: u32 = 0x03;
pub const CLASS_BUFFER_PIN: u32 = 0x04;
pub const CLASS_ACTIVITY: u32 = 0x05;
pub const CLASS_CLIENT: u32 = 0x06;
pub const CLASS_EXTENSION: u32 = 0x07;
pub const CLASS_IPC: u32 = 0x08;
pub const CLASS_TIMEOUT: u32 = 0x09;
pub const CLASS_IO: u32 = 0x0A;
pub const CLASS_INJECTION_POINT: u32 = 0x0B;

/// The first version that tells the events of extensions apart; before, all are called "Extension".
const FIRST_CUSTOM_EVENTS: u32 = 17;

/// A wait event by its names. Both are `None` for "not waiting".
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WaitEvent {
    /// `wait_event_type`; `#n` for a class that no version has.
    pub class: Option<Cow<'static, str>>,
    /// `wait_event`; `#n` where the name is not in the version's table: registered by an extension, or unknown.
    pub event: Option<Cow<'static, str>>,
}

impl std::fmt::Display for WaitEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.class, &self.event) {
            (Some(class), Some(event)) => write!(f, "{class}:{event}"),
            _ => Ok(()),
        }
    }
}

/// The names of a `wait_event_info` on a server of this major version.
pub fn decode(major: u32, wait_event_info: u32) -> WaitEvent {
    if wait_event_info == 0 {
        return WaitEvent::default();
    }
    let (class, event) = (wait_event_info >> CLASS_SHIFT, wait_event_info & EVENT_MASK);
    let known = names_of(major).and_then(|names| names.get(class as usize));
    let one_for_all = class == CLASS_BUFFER_PIN || (class == CLASS_EXTENSION && major < FIRST_CUSTOM_EVENTS);
    let number = if one_for_all { 0 } else { event };
    let name = known.and_then(|events| events.get(number as usize)).filter(|name| !name.is_empty());
    let class_name = names::CLASSES.get(class as usize).filter(|name| !name.is_empty());
    WaitEvent {
        class: Some(class_name.map_or_else(|| format!("#{class}").into(), |name| Cow::Borrowed(*name))),
        event: Some(name.map_or_else(|| format!("#{event}").into(), |name| Cow::Borrowed(*name))),
    }
}

/// The `wait_event_info` of a name on a server of this major version; the spelling of upper and lower case differs between
/// versions.
pub fn encode(major: u32, class: u32, event: &str) -> Option<u32> {
    let events = names_of(major)?.get(class as usize)?;
    let number = events.iter().position(|name| name.eq_ignore_ascii_case(event))?;
    Some(class << CLASS_SHIFT | number as u32)
}

/// Whether a word read from memory can be a `wait_event_info`: nothing, or a class that this version has.
pub fn is_plausible(major: u32, wait_event_info: u32) -> bool {
    let class = wait_event_info >> CLASS_SHIFT;
    let known = names_of(major).and_then(|names| names.get(class as usize)).is_some_and(|events| !events.is_empty());
    let custom = class == CLASS_INJECTION_POINT && major >= FIRST_CUSTOM_EVENTS;
    wait_event_info == 0 || ((known || custom) && wait_event_info & !EVENT_MASK == class << CLASS_SHIFT)
}

fn names_of(major: u32) -> Option<&'static Names> {
    match major {
        13 => Some(&names::V13),
        14 => Some(&names::V14),
        15 => Some(&names::V15),
        16 => Some(&names::V16),
        17 => Some(&names::V17),
        18 => Some(&names::V18),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAJORS: std::ops::RangeInclusive<u32> = 13..=18;

    fn shown(major: u32, wait_event_info: u32) -> String {
        decode(major, wait_event_info).to_string()
    }

    #[test]
    fn names_lead_back_to_numbers() {
        for major in MAJORS {
            for event in ["ProcArrayGroupUpdate", "XactGroupUpdate", "SyncRep"] {
                let info = encode(major, CLASS_IPC, event).unwrap();
                assert!(shown(major, info).eq_ignore_ascii_case(&format!("IPC:{event}")));
            }
            assert_eq!(encode(major, CLASS_IPC, "NoSuchEvent"), None);
        }
    }

    #[test]
    fn zero_is_not_waiting() {
        assert_eq!(decode(15, 0), WaitEvent { class: None, event: None });
        assert_eq!(shown(15, 0), "");
    }

    #[test]
    fn client_read_is_the_first_of_its_class() {
        for major in MAJORS {
            assert_eq!(shown(major, 0x0600_0000), "Client:ClientRead", "{major}");
            assert_eq!(shown(major, 0x0600_0001), "Client:ClientWrite", "{major}");
        }
    }

    #[test]
    fn locks_of_every_version() {
        for major in MAJORS {
            assert_eq!(shown(major, 0x0300_0000), "Lock:relation", "{major}");
            assert_eq!(shown(major, 0x0300_0005), "Lock:transactionid", "{major}");
            assert_eq!(shown(major, 0x0400_0000), "BufferPin:BufferPin", "{major}");
            assert_eq!(shown(major, 0x0100_0001), "LWLock:ShmemIndex", "{major}");
        }
        assert_eq!(shown(15, 0x0300_000B), "Lock:#11");
        assert_eq!(shown(16, 0x0300_000B), "Lock:applytransaction");
    }

    #[test]
    fn numbers_move_between_versions() {
        let find = |major: u32, class: u32, name: &str| {
            (0..256).find(|event| decode(major, class << CLASS_SHIFT | event).event.as_deref() == Some(name))
        };
        assert_eq!(find(13, CLASS_IO, "WALSync"), Some(65));
        assert_eq!(find(15, CLASS_IO, "WALSync"), Some(70));
        assert_eq!(find(18, CLASS_IO, "WalSync"), Some(78));
        // 17 made the names uniform.
        assert_eq!(find(16, CLASS_IO, "WalSync"), None);
        assert_eq!(find(17, CLASS_IO, "WALSync"), None);
        for major in MAJORS {
            for (class, name) in [(CLASS_IO, "DataFileRead"), (CLASS_LWLOCK, "WALWrite"), (CLASS_TIMEOUT, "PgSleep")] {
                assert!(find(major, class, name).is_some(), "{major} {name}");
            }
        }
    }

    #[test]
    fn events_of_extensions() {
        for major in 13..=16 {
            assert_eq!(shown(major, 0x0700_000C), "Extension:Extension", "{major}");
        }
        for major in 17..=18 {
            assert_eq!(shown(major, 0x0700_0000), "Extension:Extension", "{major}");
            assert_eq!(shown(major, 0x0700_000C), "Extension:#12", "{major}");
            assert_eq!(shown(major, 0x0B00_0003), "InjectionPoint:#3", "{major}");
        }
        assert_eq!(shown(15, 0x0100_00FF), "LWLock:#255");
    }

    #[test]
    fn what_no_table_has_goes_by_number() {
        assert_eq!(shown(15, 0x0200_0007), "#2:#7");
        assert_eq!(shown(15, 0xFF00_0001), "#255:#1");
        assert_eq!(shown(19, 0x0600_0000), "Client:#0");
    }

    #[test]
    fn plausible_words() {
        for major in MAJORS {
            assert!(is_plausible(major, 0) && is_plausible(major, 0x0600_0000) && is_plausible(major, 0x0100_0123));
            assert!(!is_plausible(major, 1) && !is_plausible(major, 0x0200_0000) && !is_plausible(major, 0x0611_0000));
            assert!(!is_plausible(major, 0x5555_5555) && !is_plausible(major, 0x7fff_1234));
            assert_eq!(is_plausible(major, 0x0B00_0001), major >= 17);
        }
    }
}
