//! What the server's executable tells: where its functions, variables and static probes are.
//!
//! The bytes come from another, possibly unfriendly, container: every parser here takes them as they are, refuses what
//! does not fit, and never panics.

mod debug_file;
mod symbols;
mod usdt;

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use object::{Object, ObjectSection, ObjectSegment};

use super::cluster::Version;
use symbols::Table;
pub use {symbols::SymbolSource, usdt::Usdt};

/// Largest executable or debug file that is read, in bytes.
const LARGEST: u64 = 1 << 30;

/// Why an executable cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BinaryError {
    #[error("cannot read {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("not a usable ELF file: {0}")]
    Malformed(#[from] object::Error),
}

/// A named place in the executable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// Virtual address as linked; in a process it stands at [`Binary::load_base`] plus this.
    pub address: u64,
    /// In bytes, 0 when not stated.
    pub size: u64,
    pub source: SymbolSource,
}

/// A `PT_LOAD` segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Segment {
    address: u64,
    offset: u64,
    /// Bytes that come from the file; the rest is zero-filled.
    file_size: u64,
    executable: bool,
}

/// The parsed executable of a server, with what its separate debug files add.
#[derive(Debug)]
pub struct Binary {
    /// The linker's fingerprint, empty when there is none.
    pub build_id: Vec<u8>,
    /// It has no `.symtab` of its own.
    pub stripped: bool,
    /// It is loaded at an address chosen at start.
    pub is_pie: bool,
    /// As its own version text says.
    pub version: Option<Version>,
    /// Static probes, in the order of the notes. One probe may have several places.
    pub usdts: Vec<Usdt>,
    segments: Vec<Segment>,
    /// In the order of trust.
    tables: Vec<(SymbolSource, Table)>,
    file: Option<File>,
}

impl Binary {
    /// The executable of a live process. Its debug files are looked for where the process itself sees them, and by
    /// build-id also on this host.
    ///
    /// # Errors
    /// When it cannot be read (process gone, not permitted) or is no ELF file.
    pub fn of_process(pid: u32) -> Result<Self, BinaryError> {
        let proc = PathBuf::from(format!("/proc/{pid}"));
        let exe = proc.join("exe");
        let seen_as = std::fs::read_link(&exe).unwrap_or_default();
        Self::read(&exe, &seen_as, &proc.join("root"))
    }

    /// An executable of this host.
    ///
    /// # Errors
    /// When it cannot be read or is no ELF file.
    pub fn open(path: &Path) -> Result<Self, BinaryError> {
        Self::read(path, path, Path::new("/"))
    }

    /// `seen_as` is the path of the executable below `root`, where debug files are looked for.
    fn read(path: &Path, seen_as: &Path, root: &Path) -> Result<Self, BinaryError> {
        let failed = |source| BinaryError::Io { path: path.into(), source };
        let data = read_regular(path, LARGEST).map_err(failed)?;
        let mut binary = Self::parse(&data)?;
        binary.file = Some(File::open(path).map_err(failed)?);
        if binary.stripped {
            let found = object::File::parse(&*data).ok().and_then(|elf| debug_file::find(&elf, seen_as, root));
            binary.tables.extend(found);
        }
        Ok(binary)
    }

    /// Parses the bytes of an executable, without looking for separate debug files.
    ///
    /// # Errors
    /// When they are no ELF file.
    pub fn parse(data: &[u8]) -> Result<Self, BinaryError> {
        let elf = object::File::parse(data)?;
        let segments = elf.segments().map(|segment| {
            let (offset, file_size) = segment.file_range();
            let executable =
                matches!(segment.flags(), object::SegmentFlags::Elf { p_flags } if p_flags & object::elf::PF_X != 0);
            Segment { address: segment.address(), offset, file_size, executable }
        });
        let segments: Vec<_> = segments.collect();
        let symtab = Table::collect(elf.symbols());
        let stripped = symtab.is_empty();
        let mut tables =
            vec![(SymbolSource::Symtab, symtab), (SymbolSource::Dynsym, Table::collect(elf.dynamic_symbols()))];
        tables.retain(|(_, table)| !table.is_empty());
        if stripped {
            tables.extend(debug_file::embedded(&elf).map(|table| (SymbolSource::DebugData, table)));
        }
        let mut binary = Self {
            build_id: elf.build_id().ok().flatten().unwrap_or_default().to_vec(),
            stripped,
            is_pie: elf.kind() == object::ObjectKind::Dynamic,
            version: elf.section_by_name(".rodata").and_then(|section| section.data().ok()).and_then(version_text),
            usdts: Vec::new(),
            segments,
            tables,
            file: None,
        };
        let mut usdts = usdt::collect(&elf);
        for usdt in &mut usdts {
            usdt.file_offset = binary.file_offset(usdt.address);
            usdt.semaphore_file_offset = usdt.semaphore.and_then(|address| binary.file_offset(address));
        }
        binary.usdts = usdts;
        Ok(binary)
    }

    /// The symbol of exactly this name. Several places of one name (static functions of different files) are none: a
    /// guess would be a wrong number.
    pub fn symbol(&self, name: &str) -> Option<Symbol> {
        self.tables.iter().find_map(|(source, table)| {
            let (address, size) = table.get(name)?;
            Some(Symbol { address, size, source: source.clone() })
        })
    }

    /// All places of a static probe.
    pub fn usdt<'a>(&'a self, provider: &'a str, name: &'a str) -> impl Iterator<Item = &'a Usdt> {
        self.usdts.iter().filter(move |usdt| usdt.provider == provider && usdt.name == name)
    }

    /// Offset in the file of what is linked at `address`, as a uprobe wants it; none for zero-filled memory.
    pub fn file_offset(&self, address: u64) -> Option<u64> {
        self.segments.iter().find_map(|segment| {
            let within = address.checked_sub(segment.address).filter(|&within| within < segment.file_size)?;
            segment.offset.checked_add(within)
        })
    }

    /// The first bytes at `address` in the file, at most `length`: the instruction a trap would replace.
    ///
    /// # Errors
    /// When the address is not in the file, or reading fails.
    pub fn code_at(&self, address: u64, length: usize) -> io::Result<Vec<u8>> {
        let (Some(file), Some(offset)) = (&self.file, self.file_offset(address)) else {
            return Err(io::Error::new(io::ErrorKind::NotFound, "address is not in the executable"));
        };
        let mut code = vec![0; length];
        let read = file.read_at(&mut code, offset)?;
        code.truncate(read);
        Ok(code)
    }

    /// Where the executable is loaded in a process, to be added to linked addresses; 0 when it is not relocated. The
    /// same in every child of one postmaster.
    ///
    /// None when the maps cannot be read, or do not agree with the file.
    pub fn load_base(&self, pid: u32) -> Option<u64> {
        let exe = format!("/proc/{pid}/exe");
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
        let meta = std::fs::metadata(&exe).ok();
        let id = meta.map(|meta| (libc::major(meta.dev()), libc::minor(meta.dev()), meta.ino()));
        let path = std::fs::read_link(&exe).ok();
        // SAFETY: no preconditions.
        let page =
            u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).ok().filter(|page| page.is_power_of_two())?;
        // Only what is mapped to run: a debugging library may have the file mapped once more to read it.
        let mappings: Vec<_> = maps.lines().filter_map(Mapping::parse).filter(|mapping| mapping.executable).collect();
        let of_exe: Vec<_> = mappings.iter().filter(|mapping| Some(mapping.id) == id).collect();
        if !of_exe.is_empty() {
            return self.base_of(&of_exe, page);
        }
        // Stacked filesystems show other numbers in the maps than in stat.
        let path = path?;
        let of_exe: Vec<_> = mappings.iter().filter(|mapping| Path::new(mapping.path) == path).collect();
        self.base_of(&of_exe, page)
    }

    /// The one base that explains every executable mapping.
    fn base_of(&self, mappings: &[&Mapping], page: u64) -> Option<u64> {
        let candidates = |mapping: &Mapping| -> Vec<u64> {
            let covers = |segment: &&Segment| {
                let end = segment.offset.saturating_add(segment.file_size);
                segment.executable && mapping.offset >= segment.offset & !(page - 1) && mapping.offset < end
            };
            let base = |segment: &Segment| {
                let linked = segment.address.wrapping_sub(segment.offset).wrapping_add(mapping.offset);
                mapping.start.wrapping_sub(linked)
            };
            self.segments.iter().filter(covers).map(base).collect()
        };
        let (first, rest) = mappings.split_first()?;
        let mut bases = candidates(first);
        for mapping in rest {
            let more = candidates(mapping);
            bases.retain(|base| more.contains(base));
        }
        bases.sort_unstable();
        bases.dedup();
        match bases[..] {
            [base] if self.is_pie || base == 0 => Some(base),
            _ => None,
        }
    }
}

/// One line of /proc/PID/maps (proc_pid_maps(5)).
#[derive(Debug)]
struct Mapping<'a> {
    start: u64,
    executable: bool,
    offset: u64,
    /// Device (major, minor) and inode.
    id: (u32, u32, u64),
    path: &'a str,
}

impl<'a> Mapping<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let hex = |text| u64::from_str_radix(text, 16).ok();
        let mut words = line.splitn(6, ' ');
        let (start, _) = words.next()?.split_once('-')?;
        let executable = words.next()?.contains('x');
        let offset = hex(words.next()?)?;
        let (major, minor) = words.next()?.split_once(':')?;
        let number = |text| hex(text).and_then(|number| u32::try_from(number).ok());
        let inode = words.next()?.parse().ok()?;
        let path = words.next().unwrap_or_default().trim_start();
        Some(Self { start: hex(start)?, executable, offset, id: (number(major)?, number(minor)?, inode), path })
    }
}

/// The server's version in its own texts: `postgres (PostgreSQL) 15.18` (src/include/miscadmin.h,
/// `PG_BACKEND_VERSIONSTR`), and failing that `PostgreSQL 15.18 on x86_64…`, what `version()` answers.
pub fn version_text(data: &[u8]) -> Option<Version> {
    let after = |needle: &[u8]| {
        let mut rest = data;
        let mut found = Vec::new();
        while let Some(at) = rest.windows(needle.len()).position(|window| window == needle) {
            rest = &rest[at + needle.len()..];
            let end = rest.iter().position(|&byte| !byte.is_ascii_graphic()).unwrap_or(rest.len());
            found.push((std::str::from_utf8(&rest[..end]).unwrap_or_default(), &rest[end..]));
        }
        found
    };
    let own = after(b"postgres (PostgreSQL) ").into_iter().find_map(|(word, _)| Version::parse(word));
    own.or_else(|| {
        let words = after(b"PostgreSQL ").into_iter();
        words.filter(|(_, rest)| rest.starts_with(b" on ")).find_map(|(word, _)| Version::parse(word))
    })
}

/// Reads a whole regular file of at most `largest` bytes; what is no regular file, such as a pipe, is never waited for.
pub(crate) fn read_regular(path: &Path, largest: u64) -> io::Result<Vec<u8>> {
    let file = std::fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    if meta.len() > largest {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "file is too large"));
    }
    let mut data = Vec::with_capacity(meta.len() as usize);
    file.take(largest).read_to_end(&mut data)?;
    Ok(data)
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
