//! Typed readers of block requests and their bios.

use pgstrobe_common::fields::ABSENT;

use super::load;
use crate::{globals::setting, instructions::number_of};

/// A `struct request` whose type the verifier knows. The probe is not attached where a field it needs is missing.
#[derive(Clone, Copy)]
pub struct Request(*const u8);

/// A `struct bio` of the same kind; may be null.
#[derive(Clone, Copy)]
pub struct Bio(*const u8);

impl Request {
    /// An argument of a `tp_btf` program.
    #[inline(always)]
    pub const fn argument(request: *const u8) -> Self {
        Self(request)
    }

    /// Tells requests under way apart ([`number_of`]).
    #[inline(always)]
    pub fn number(self) -> u64 {
        number_of(self.0)
    }

    /// Operation and flags (`blk_opf_t`).
    #[inline(always)]
    pub fn flags(self) -> u32 {
        // SAFETY: present, see above.
        unsafe { load(self.0, setting!(block.request_flags)) }
    }

    /// Bytes that are not complete yet.
    #[inline(always)]
    pub fn bytes(self) -> u32 {
        // SAFETY: as `flags`.
        unsafe { load(self.0, setting!(block.request_bytes)) }
    }

    /// The first of the sectors that are not complete yet, of 512 bytes each.
    #[inline(always)]
    pub fn sector(self) -> u64 {
        // SAFETY: as `flags`.
        unsafe { load(self.0, setting!(block.request_sector)) }
    }

    /// When it was made; 0 when unknown.
    #[inline(always)]
    pub fn started(self) -> u64 {
        let offset = setting!(block.request_started);
        // SAFETY: present.
        if offset == ABSENT { 0 } else { unsafe { load(self.0, offset) } }
    }

    #[inline(always)]
    pub fn bio(self) -> Bio {
        // SAFETY: as `flags`.
        Bio(unsafe { load(self.0, setting!(block.request_bio)) })
    }

    /// Tells hardware contexts apart ([`number_of`]); 0 when unknown.
    #[inline(always)]
    pub fn context(self) -> u64 {
        let offset = setting!(block.request_context);
        // SAFETY: present.
        if offset == ABSENT { 0 } else { number_of(unsafe { load(self.0, offset) }) }
    }

    /// Its disk, 0 when it has none.
    #[inline(always)]
    pub fn device(self) -> u32 {
        let (own, of_queue) = (setting!(block.request_disk), setting!(block.queue_disk));
        // SAFETY: typed pointers from the kernel, fields that are present.
        unsafe {
            if of_queue != ABSENT {
                let queue: *const u8 = load(self.0, setting!(block.request_queue));
                number_of_disk(load(queue, of_queue))
            } else {
                number_of_disk(load(self.0, own))
            }
        }
    }
}

/// A whole disk as major × 2²⁰ + minor.
///
/// # Safety
/// `disk` is a typed `struct gendisk`, or null.
#[inline(always)]
unsafe fn number_of_disk(disk: *const u8) -> u32 {
    if disk.is_null() {
        return 0;
    }
    // SAFETY: typed, as the caller promises, and not null.
    let (major, minor): (u32, u32) =
        unsafe { (load(disk, setting!(block.disk_major)), load(disk, setting!(block.disk_minor))) };
    major << 20 | minor
}

impl Bio {
    /// An argument of a `tp_btf` program.
    #[inline(always)]
    pub const fn argument(bio: *const u8) -> Self {
        Self(bio)
    }

    /// Tells bios under way apart ([`number_of`]).
    #[inline(always)]
    pub fn number(self) -> u64 {
        number_of(self.0)
    }

    /// Operation and flags (`blk_opf_t`), 0 without a bio.
    #[inline(always)]
    pub fn flags(self) -> u32 {
        if self.0.is_null() {
            return 0;
        }
        // SAFETY: present, not null.
        unsafe { load(self.0, setting!(block.bio_flags)) }
    }

    /// Bytes left to move; not asked without a bio.
    #[inline(always)]
    pub fn bytes(self) -> u32 {
        let offset = setting!(block.bio_bytes);
        // SAFETY: present.
        if offset == ABSENT { 0 } else { unsafe { load(self.0, offset) } }
    }

    /// Its disk, 0 when unknown; not asked without a bio.
    #[inline(always)]
    pub fn device(self) -> u32 {
        let (disk, part) = (setting!(block.bio_disk), setting!(block.bio_part));
        // SAFETY: typed pointers from the kernel, fields that are present.
        unsafe {
            if disk != ABSENT {
                return number_of_disk(load(self.0, disk));
            }
            if part == ABSENT || setting!(block.part_disk) == ABSENT {
                return 0;
            }
            let part: *const u8 = load(self.0, part);
            if part.is_null() { 0 } else { number_of_disk(load(part, setting!(block.part_disk))) }
        }
    }

    /// Inode number of the directory of its cgroup, in the hierarchy of the block controller; 0 when unknown.
    #[inline(always)]
    pub fn cgroup(self) -> u64 {
        let (group, cgroup) = (setting!(block.bio_group), setting!(block.group_cgroup));
        let (inner, node) = (setting!(block.blkcg_cgroup), setting!(block.cgroup_node));
        let id = setting!(block.node_id);
        if group == ABSENT || cgroup == ABSENT || inner == ABSENT || node == ABSENT || id == ABSENT {
            return 0;
        }
        // SAFETY: typed pointers from the kernel, fields that are present. A load through a null one gives 0.
        unsafe {
            if self.0.is_null() {
                return 0;
            }
            let group: *const u8 = load(self.0, group);
            if group.is_null() {
                return 0;
            }
            let blkcg: *const u8 = load(group, cgroup);
            let cgroup: *const u8 = load(blkcg, inner);
            let node: *const u8 = load(cgroup, node);
            load(node, id)
        }
    }
}
