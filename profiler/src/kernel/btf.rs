//! Offsets of kernel fields, from the kernel's own type information.
//!
//! aya keeps its BTF reader private, and only member offsets are needed, so the format (Documentation/bpf/btf.rst) is
//! read here: bytes in, no allocation per type but its position.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    path::Path,
};

use pgstrobe_common::fields::{BlockFields, Field, KernelFields};

/// Where the kernel shows its types.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

#[derive(Debug, thiserror::Error)]
pub enum BtfError {
    #[error("cannot read {path}: {source}")]
    Read { path: String, source: std::io::Error },
    #[error("the kernel's type information is damaged: {0}")]
    Damaged(&'static str),
}

/// Kind numbers of include/uapi/linux/btf.h.
mod kind {
    pub const INT: u32 = 1;
    pub const ARRAY: u32 = 3;
    pub const STRUCT: u32 = 4;
    pub const UNION: u32 = 5;
    pub const ENUM: u32 = 6;
    pub const TYPEDEF: u32 = 8;
    pub const VOLATILE: u32 = 9;
    pub const CONST: u32 = 10;
    pub const RESTRICT: u32 = 11;
    pub const FUNC: u32 = 12;
    pub const FUNC_PROTO: u32 = 13;
    pub const VAR: u32 = 14;
    pub const DATASEC: u32 = 15;
    pub const DECL_TAG: u32 = 17;
    pub const TYPE_TAG: u32 = 18;
    pub const ENUM64: u32 = 19;
}

/// Parsed type information.
pub struct Btf {
    data: Vec<u8>,
    strings: usize,
    /// Position of each type; type 0 is void.
    types: Vec<u32>,
    structs: Index,
    functions: Index,
}

/// Types by the hash of their name. A kernel has some 70,000 functions: their names once more would be megabytes.
type Index = HashMap<u64, u32>;

/// Members nested deeper than this are not searched.
const DEPTH: u32 = 8;

/// Members looked at in search of one. `task_struct` has about 300 with what is nested in it, so this is a hundred times
/// what any kernel needs, and it ends the search in types that hold themselves.
const MOST_MEMBERS: u32 = 1 << 15;

impl Btf {
    /// Reads the running kernel's, or that of a file.
    pub fn load(path: &Path) -> Result<Self, BtfError> {
        let data = std::fs::read(path).map_err(|source| BtfError::Read { path: path.display().to_string(), source })?;
        Self::parse(data)
    }

    /// Parses little-endian BTF.
    pub fn parse(data: Vec<u8>) -> Result<Self, BtfError> {
        let word = |at: usize| word(&data, at).ok_or(BtfError::Damaged("short header"));
        if data.get(..2) != Some(&[0x9f, 0xeb]) {
            return Err(BtfError::Damaged("no BTF magic"));
        }
        let header = word(4)? as usize;
        let start = header.checked_add(word(8)? as usize).ok_or(BtfError::Damaged("type offset"))?;
        let end = start.checked_add(word(12)? as usize).ok_or(BtfError::Damaged("type length"))?;
        let strings = header.checked_add(word(16)? as usize).ok_or(BtfError::Damaged("string offset"))?;
        if end > data.len() || strings > data.len() {
            return Err(BtfError::Damaged("sections beyond the end"));
        }
        let mut this = Self { data, strings, types: vec![0], structs: Index::new(), functions: Index::new() };
        let mut at = start;
        while at < end {
            let (info, vlen) = this.info(at).ok_or(BtfError::Damaged("short type"))?;
            let id = this.types.len() as u32;
            this.types.push(at as u32);
            let name = this.name(at);
            if !name.is_empty() {
                let name = hash(name);
                match info {
                    kind::STRUCT | kind::UNION => {
                        this.structs.entry(name).or_insert(id);
                    }
                    kind::FUNC => {
                        this.functions.entry(name).or_insert(id);
                    }
                    _ => {}
                }
            }
            at += 12
                + match info {
                    kind::INT | kind::VAR | kind::DECL_TAG => 4,
                    kind::ARRAY => 12,
                    kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => 12 * vlen,
                    kind::ENUM | kind::FUNC_PROTO => 8 * vlen,
                    0 | 20.. => return Err(BtfError::Damaged("unknown kind of type")),
                    _ => 0,
                };
        }
        Ok(this)
    }

    /// The offset table of this kernel.
    pub fn resolve(&self) -> KernelFields {
        KernelFields::resolve(|field| self.offset(field))
    }

    /// The same for structs of the block layer.
    pub fn resolve_block(&self) -> BlockFields {
        BlockFields::resolve(|field| self.offset(field))
    }

    /// Byte offset of a field by the first of its paths that exists.
    pub fn offset(&self, field: &Field) -> Option<u32> {
        let of = self.named(&self.structs, field.of)?;
        field.paths.iter().find_map(|path| {
            let mut id = of;
            let mut offset = 0;
            for name in path.split('.') {
                let (at, member) = self.member(id, name.as_bytes(), 0, &mut { MOST_MEMBERS })?;
                offset = at.checked_add(offset)?;
                id = member;
            }
            Some(offset)
        })
    }

    /// Mask of a bit field in the byte at its [`Self::offset`]; the field is a direct member.
    pub fn bit_of(&self, of: &str, name: &str) -> Option<u32> {
        let at = self.strip(self.named(&self.structs, of)?)?;
        let (_, vlen) = self.info(at)?;
        let member = (0..vlen).map(|i| at + 12 + 12 * i).find(|member| self.name(*member) == name.as_bytes())?;
        let bits = word(&self.data, member + 8)? & 0x00ff_ffff;
        Some(1 << (bits % 8))
    }

    /// Whether the kernel has a function that programs may attach to by type.
    pub fn has_function(&self, name: &str) -> bool {
        self.named(&self.functions, name).is_some()
    }

    fn named(&self, index: &Index, name: &str) -> Option<u32> {
        let id = *index.get(&hash(name.as_bytes()))?;
        (self.name(self.types[id as usize] as usize) == name.as_bytes()).then_some(id)
    }

    /// Whether a `tp_btf` program can name this tracepoint (its `btf_trace_` typedef exists).
    pub fn has_tracepoint(&self, name: &str) -> bool {
        self.has_typedef(&format!("btf_trace_{name}"))
    }

    /// How many arguments the tracepoint has.
    pub fn tracepoint_arguments(&self, name: &str) -> Option<usize> {
        // `typedef void (*btf_trace_NAME)(void *, ARGUMENTS)` (include/trace/bpf_probe.h).
        let typedef = self.find(kind::TYPEDEF, &format!("btf_trace_{name}"))?;
        let pointer = self.strip(word(&self.data, typedef + 8)?)?;
        let function = self.strip(word(&self.data, pointer + 8)?)?;
        let (kind, vlen) = self.info(function)?;
        (kind == kind::FUNC_PROTO).then(|| vlen.saturating_sub(1))
    }

    /// Whether programs at tracepoints run with preemption on. A program that is interrupted there is left out for every
    /// other task of its CPU until it ends (`prog->active`, kernel/trace/bpf_trace.c).
    ///
    /// From 7.0 on tracepoints are guarded by SRCU instead of disabled preemption (include/linux/tracepoint.h): the guard's
    /// type is in BTF since it is in use.
    pub fn preempts_tracepoints(&self) -> bool {
        self.has_typedef("class_srcu_fast_notrace_t")
    }

    fn has_typedef(&self, name: &str) -> bool {
        self.find(kind::TYPEDEF, name).is_some()
    }

    /// Position of a type of a kind that is not indexed.
    fn find(&self, kind: u32, name: &str) -> Option<usize> {
        let mut types = self.types[1..].iter().map(|at| *at as usize);
        types.find(|at| self.info(*at).is_some_and(|(of, _)| of == kind) && self.name(*at) == name.as_bytes())
    }

    /// Names and values of an enumeration of 32 bits.
    pub fn enumerators(&self, name: &str) -> Vec<(String, u32)> {
        let Some(at) = self.find(kind::ENUM, name) else { return Vec::new() };
        let count = self.info(at).map_or(0, |(_, count)| count);
        let one = |i: usize| {
            let at = at + 12 + 8 * i;
            Some((String::from_utf8_lossy(self.name(at)).into_owned(), word(&self.data, at + 4)?))
        };
        (0..count).map_while(one).collect()
    }

    /// Offset and type of a member, looking into anonymous members.
    fn member(&self, id: u32, name: &[u8], depth: u32, left: &mut u32) -> Option<(u32, u32)> {
        let at = self.strip(id)?;
        let (kind, vlen) = self.info(at)?;
        if !matches!(kind, kind::STRUCT | kind::UNION) || depth > DEPTH {
            return None;
        }
        let bitfields = word(&self.data, at + 4)? >> 31 != 0;
        for i in 0..vlen {
            *left = left.checked_sub(1)?;
            let member = at + 12 + 12 * i;
            let found = self.name(member);
            let kind_id = word(&self.data, member + 4)?;
            let mut bits = word(&self.data, member + 8)?;
            if bitfields {
                bits &= 0x00ff_ffff;
            }
            if found == name {
                return Some((bits / 8, kind_id));
            }
            if found.is_empty()
                && let Some((offset, inner)) = self.member(kind_id, name, depth + 1, left)
            {
                return Some((offset.checked_add(bits / 8)?, inner));
            }
        }
        None
    }

    /// Position of a type below typedefs and qualifiers.
    fn strip(&self, mut id: u32) -> Option<usize> {
        for _ in 0..32 {
            let at = *self.types.get(id as usize)? as usize;
            match self.info(at)?.0 {
                kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG => {
                    id = word(&self.data, at + 8)?;
                }
                _ => return Some(at),
            }
        }
        None
    }

    /// Kind and number of members.
    fn info(&self, at: usize) -> Option<(u32, usize)> {
        let info = word(&self.data, at + 4)?;
        Some(((info >> 24) & 0x1f, (info & 0xffff) as usize))
    }

    fn name(&self, at: usize) -> &[u8] {
        let start = self.strings + word(&self.data, at).unwrap_or(0) as usize;
        let rest = self.data.get(start..).unwrap_or(&[]);
        &rest[..rest.iter().position(|&b| b == 0).unwrap_or(0)]
    }
}

fn hash(name: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}

fn word(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(data.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_input_is_an_error() {
        for data in [vec![], vec![0x9f, 0xeb], vec![0x9f; 64], [&[0x9f, 0xeb, 1, 0][..], &[0xff; 60]].concat()] {
            assert!(Btf::parse(data).is_err());
        }
    }

    #[test]
    fn every_field_exists_in_the_running_kernel() {
        let Ok(btf) = Btf::load(Path::new(VMLINUX)) else {
            panic!("{VMLINUX} is needed for this test: a kernel with CONFIG_DEBUG_INFO_BTF");
        };
        for field in pgstrobe_common::fields::KERNEL_FIELDS {
            assert!(btf.offset(field).is_some(), "{} ({} {:?})", field.name, field.of, field.paths);
        }
        assert!(btf.has_tracepoint("sched_switch"));
        assert!(!btf.has_tracepoint("no_such_tracepoint"));
        assert_eq!(btf.tracepoint_arguments("sched_switch").map(|n| (3..=4).contains(&n)), Some(true));
        assert_eq!(btf.tracepoint_arguments("block_bio_queue").map(|n| (1..=2).contains(&n)), Some(true));
        assert_eq!(btf.tracepoint_arguments("no_such_tracepoint"), None);
        assert!(btf.has_function("vfs_read"));
        assert_eq!(btf.tracepoint_arguments("sched_process_fork"), Some(2));
        assert_eq!(btf.tracepoint_arguments("no_such_tracepoint"), None);
        assert!(btf.enumerators("wb_reason").contains(&("WB_REASON_SYNC".into(), 2)));
        assert_eq!(btf.tracepoint_arguments("sched_switch").map(|n| n >= 3), Some(true));
        assert_eq!(btf.tracepoint_arguments("block_rq_complete"), Some(3));
        let disk = |field: &Field| matches!(field.name, "request_disk" | "queue_disk" | "bio_disk");
        for field in pgstrobe_common::fields::BLOCK_FIELDS.iter().filter(|field| !disk(field)) {
            assert!(btf.offset(field).is_some(), "{} ({} {:?})", field.name, field.of, field.paths);
        }
        let block = btf.resolve_block();
        assert!(block.request_disk != pgstrobe_common::fields::ABSENT || block.queue_disk != block.request_disk);
    }
}
