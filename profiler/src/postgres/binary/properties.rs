//! Executables may come from an unfriendly container: whatever their bytes, they are read or refused.

use std::path::Component;

use proptest::prelude::*;

use super::*;

/// A small real executable, to be damaged.
fn real() -> &'static [u8] {
    static DATA: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    DATA.get_or_init(|| std::fs::read("/bin/true").expect("/bin/true"))
}

fn ask(data: &[u8]) {
    let Ok(binary) = Binary::parse(data) else { return };
    let _ = (binary.symbol("main"), binary.usdt("postgresql", "query__start").count());
    for address in [0, 0x1000, u64::MAX] {
        let _ = (binary.file_offset(address), binary.code_at(address, 16));
    }
}

fn note(kind: u32, owner: &[u8], description: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    [owner.len() as u32, description.len() as u32, kind].into_iter().for_each(|word| out.extend(word.to_le_bytes()));
    for part in [owner, description] {
        out.extend(part);
        out.resize(out.len().next_multiple_of(4), 0);
    }
    out
}

proptest! {
    #[test]
    fn any_bytes(data in prop::collection::vec(any::<u8>(), 0..512)) {
        ask(&data);
        ask(&[b"\x7fELF\x02\x01\x01", &data[..]].concat());
        let _ = version_text(&data);
        let _ = Version::parse(&String::from_utf8_lossy(&data));
    }

    /// In the first 64 bytes are the offsets of everything, in the last section table their sizes.
    #[test]
    fn damaged_executables(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3), 1..24),
        end in any::<prop::sample::Index>(),
        cut: bool,
    ) {
        let mut data = real().to_vec();
        let len = data.len();
        for (at, byte, place) in changes {
            let at = match place {
                0 => at.index(64),
                1 => len - 1 - at.index(2048.min(len)),
                _ => at.index(len),
            };
            data[at] = byte;
        }
        if cut {
            data.truncate(end.index(len));
        }
        ask(&data);
    }

    #[test]
    fn any_notes(
        notes in prop::collection::vec((0u32..5, prop::bool::ANY, prop::collection::vec(any::<u8>(), 0..64)), 0..8),
        tail in prop::collection::vec(any::<u8>(), 0..32),
        is_64: bool,
        little: bool,
        base in prop::option::of(any::<u64>()),
    ) {
        let notes = notes.iter().map(|(kind, own, text)| note(*kind, if *own { b"stapsdt\0" } else { b"GNU\0" }, text));
        let data = [notes.collect::<Vec<_>>().concat(), tail].concat();
        let mut found = Vec::new();
        usdt::parse(&data, is_64, little, base, &mut found);
        prop_assert!(found.len() <= 8 + data.len() / 12);
    }

    /// A link never leads out of the directories where debug files are.
    #[test]
    fn any_link(
        name in prop_oneof![any::<Vec<u8>>(), "[./a-z]{0,12}".prop_map(String::into_bytes)],
        seen_as in "[./a-z]{0,20}",
        id: Vec<u8>,
    ) {
        for path in debug_file::link_paths(&name, Path::new(&seen_as)) {
            prop_assert!(path.is_relative(), "{}", path.display());
            let normal = |part: Component| matches!(part, Component::Normal(_));
            prop_assert!(path.components().next_back().is_some_and(normal), "{}", path.display());
        }
        if let Some(path) = debug_file::build_id_path(&id) {
            prop_assert!(path.components().all(|part| matches!(part, Component::Normal(_))));
        }
    }
}
