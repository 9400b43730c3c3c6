//! Type information of any kind, well-formed or not, is read or refused: no panic, and no search without end.

use pgstrobe_common::fields::KERNEL_FIELDS;
use proptest::prelude::*;

use super::*;

/// Names that are looked for, so that searches get somewhere; the empty one makes anonymous members.
const STRINGS: &[u8] = b"\0task_struct\0pid\0tgid\0__state\0file\0f_path\0dentry\0vfs_read\0btf_trace_sched_switch\0";

/// A header before any types, and the names.
fn file(types: &[u8], wrong: u32) -> Vec<u8> {
    let mut data = vec![0x9f, 0xeb, 1, 0];
    for word in [24, 0, types.len() as u32, types.len() as u32 ^ wrong, STRINGS.len() as u32] {
        data.extend(word.to_le_bytes());
    }
    [&data[..], types, STRINGS].concat()
}

/// A type with its members; sizes are right, names and ids are not.
fn one() -> impl Strategy<Value = Vec<u8>> {
    let name = 0..STRINGS.len() as u32 + 4;
    let member = (0..STRINGS.len() as u32, 0u32..24, prop_oneof![0u32..4096, any::<u32>()]);
    (name, 0u32..21, any::<bool>(), any::<u32>(), prop::collection::vec(member, 0..12)).prop_map(
        |(name, kind, flag, word, members)| {
            let vlen = members.len() as u32;
            let mut out = Vec::new();
            let mut push = |word: u32| out.extend(word.to_le_bytes());
            [name, kind << 24 | u32::from(flag) << 31 | vlen, word % 32].into_iter().for_each(&mut push);
            match kind {
                kind::INT | kind::VAR | kind::DECL_TAG => push(word),
                kind::ARRAY => [word, 1, 2].into_iter().for_each(&mut push),
                kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => {
                    members.iter().for_each(|&(name, id, bits)| [name, id, bits].into_iter().for_each(&mut push));
                }
                kind::ENUM | kind::FUNC_PROTO => {
                    members.iter().for_each(|&(name, id, _)| [name, id].into_iter().for_each(&mut push));
                }
                _ => {}
            }
            out
        },
    )
}

fn ask(data: Vec<u8>) {
    let Ok(btf) = Btf::parse(data) else { return };
    let _ = btf.resolve();
    for field in KERNEL_FIELDS {
        let _ = btf.offset(field);
    }
    let _ = (btf.has_function("vfs_read"), btf.has_tracepoint("sched_switch"), btf.has_function(""));
}

proptest! {
    #[test]
    fn any_bytes(data in prop::collection::vec(any::<u8>(), 0..512)) {
        ask(data.clone());
        ask(file(&data, 0));
    }

    #[test]
    fn any_types(types in prop::collection::vec(one(), 0..24), wrong in prop_oneof![Just(0u32), any::<u32>()]) {
        ask(file(&types.concat(), wrong));
    }

    #[test]
    fn damaged_types(types in prop::collection::vec(one(), 1..24), at: prop::sample::Index, byte: u8, end: prop::sample::Index) {
        let mut data = file(&types.concat(), 0);
        let at = at.index(data.len());
        data[at] = byte;
        let end = end.index(data.len());
        ask(data[..end].to_vec());
        ask(data);
    }
}

mod fixed {
    use super::*;

    /// A structure of nothing but anonymous members of its own type: the search ends when its budget is spent.
    #[test]
    fn types_that_hold_themselves() {
        let mut types = Vec::new();
        for word in [1, kind::STRUCT << 24 | 60, 8].into_iter().chain([0u32, 1, 0].into_iter().cycle().take(180)) {
            types.extend(word.to_le_bytes());
        }
        let btf = Btf::parse(file(&types, 0)).expect("a well-formed file");
        let mut left = MOST_MEMBERS;
        assert_eq!(btf.member(1, b"pid", 0, &mut left), None);
        assert_eq!(left, 0, "members are left to look at");
        ask(file(&types, 0));
    }
}
