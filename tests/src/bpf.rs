//! Which eBPF objects the kernel holds, asked of the kernel itself.

use std::collections::BTreeSet;

/// The ids of all programs, maps and links of the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BpfObjects {
    ids: BTreeSet<(&'static str, u32)>,
}

// Commands of bpf(2), from linux/bpf.h.
const KINDS: [(&str, i64); 3] = [("program", 11), ("map", 12), ("link", 31)];

impl BpfObjects {
    pub fn now() -> Self {
        let mut ids = BTreeSet::new();
        for (kind, command) in KINDS {
            let mut id = 0;
            while let Some(next) = next_id(command, id) {
                ids.insert((kind, next));
                id = next;
            }
        }
        Self { ids }
    }

    /// What is here and not in `before`.
    pub fn since(&self, before: &Self) -> Self {
        Self { ids: self.ids.difference(&before.ids).copied().collect() }
    }

    pub fn both(&self, other: &Self) -> Self {
        Self { ids: self.ids.intersection(&other.ids).copied().collect() }
    }

    pub fn count(&self, kind: &str) -> usize {
        self.ids.iter().filter(|(of, _)| *of == kind).count()
    }

    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}

fn next_id(command: i64, start: u32) -> Option<u32> {
    // start_id, next_id, open_flags: the part of `union bpf_attr` that these commands use.
    let mut attr = [start, 0, 0];
    // SAFETY: the kernel reads and writes no more than the size given.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attr.as_mut_ptr(), size_of_val(&attr)) };
    (result == 0).then_some(attr[1])
}
