//! Dirty memory: the limits the kernel is set to, and how much there is.

use std::{fs, path::Path};

use pgstrobe_common::writeback::{DIRTY_ARGUMENTS_PLAIN, DIRTY_ARGUMENTS_STRUCT, DIRTY_ARGUMENTS_UNKNOWN};

use super::btf::Btf;

/// Size of a page of memory, in bytes.
pub fn page_bytes() -> u64 {
    // SAFETY: a system call without pointers.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

/// Which arguments `balance_dirty_pages` has on this kernel (`DIRTY_ARGUMENTS_`).
pub fn dirty_arguments(btf: &Btf) -> u32 {
    match btf.tracepoint_arguments("balance_dirty_pages") {
        Some(12) => DIRTY_ARGUMENTS_PLAIN,
        Some(8) => DIRTY_ARGUMENTS_STRUCT,
        _ => DIRTY_ARGUMENTS_UNKNOWN,
    }
}

/// Why the flusher writes, by number: `WB_REASON_FS_FREE_SPACE` is `fs_free_space` (include/linux/backing-dev-defs.h).
pub fn reasons(btf: &Btf) -> Vec<String> {
    let mut names = Vec::new();
    for (name, value) in btf.enumerators("wb_reason") {
        // In order; the last is the number of them.
        if value as usize == names.len() {
            names.push(name.trim_start_matches("WB_REASON_").to_lowercase());
        }
    }
    names.pop();
    names
}

/// The settings below /proc/sys/vm, in their own units; `*_bytes` is 0 where the ratio holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    pub background_bytes: u64,
    /// Per cent of the memory that can be dirty.
    pub background_ratio: u64,
    pub bytes: u64,
    pub ratio: u64,
    /// Hundredths of a second.
    pub expire_centisecs: u64,
    pub writeback_centisecs: u64,
}

impl Settings {
    pub fn read() -> Self {
        Self::below(Path::new("/proc/sys/vm"))
    }

    fn below(dir: &Path) -> Self {
        let value = |name: &str| {
            let text = fs::read_to_string(dir.join(name)).unwrap_or_default();
            text.trim().parse().unwrap_or(0)
        };
        Self {
            background_bytes: value("dirty_background_bytes"),
            background_ratio: value("dirty_background_ratio"),
            bytes: value("dirty_bytes"),
            ratio: value("dirty_ratio"),
            expire_centisecs: value("dirty_expire_centisecs"),
            writeback_centisecs: value("dirty_writeback_centisecs"),
        }
    }
}

/// From /proc/vmstat, of the whole host; all but `written_bytes` in pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dirty {
    /// Changed, and changed and on the way to a device.
    pub dirty: u64,
    pub writeback: u64,
    /// Handed to block devices since the host was started, by whatever way (`pgpgout`, which is in KiB). Of a device on
    /// top of another, as of a loop device, both count. `nr_written` is no measure: it has the whole of a folio of which
    /// a page was dirty.
    pub written_bytes: u64,
    /// From here on the flusher writes, and writers are slowed well before the second.
    pub background_threshold: u64,
    pub threshold: u64,
}

impl Dirty {
    pub fn now() -> Self {
        Self::parse(&fs::read_to_string("/proc/vmstat").unwrap_or_default())
    }

    fn parse(text: &str) -> Self {
        let mut this = Self::default();
        for line in text.lines() {
            let Some((name, value)) = line.split_once(' ') else { continue };
            let value = value.trim().parse().unwrap_or(0);
            let into = match name {
                "nr_dirty" => &mut this.dirty,
                "nr_writeback" => &mut this.writeback,
                "pgpgout" => &mut this.written_bytes,
                "nr_dirty_background_threshold" => &mut this.background_threshold,
                "nr_dirty_threshold" => &mut this.threshold,
                _ => continue,
            };
            *into = value;
        }
        this.written_bytes *= 1024;
        this
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_shows() {
        let text = "nr_dirty 12\nnr_writeback 3\nnr_writeback_temp 9\nnr_written 900\npgpgout 400\nnr_dirty_threshold 70\n\
                    nr_dirty_background_threshold 35\n";
        let expected =
            Dirty { dirty: 12, writeback: 3, written_bytes: 400 << 10, background_threshold: 35, threshold: 70 };
        assert_eq!(Dirty::parse(text), expected);
        assert_eq!(Dirty::parse("nr_dirty"), Dirty::default());
        assert!(Dirty::now().written_bytes > 0 && Dirty::now().threshold > 0);
        assert!(Settings::read().expire_centisecs > 0);
        assert_eq!(Settings::below(Path::new("/nowhere")), Settings::default());
    }

    #[test]
    fn knows_this_kernel() {
        let btf = Btf::load(Path::new(super::super::btf::VMLINUX)).unwrap();
        assert_ne!(dirty_arguments(&btf), DIRTY_ARGUMENTS_UNKNOWN);
        let reasons = reasons(&btf);
        assert_eq!(reasons.first().map(String::as_str), Some("background"));
        assert!(reasons.contains(&"periodic".into()) && !reasons.contains(&"max".into()), "{reasons:?}");
    }
}
