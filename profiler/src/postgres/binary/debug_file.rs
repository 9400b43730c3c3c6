//! Separate debug files: packaged servers are stripped, and the names of their static functions are kept elsewhere.
//!
//! A debug file counts only when it provably belongs to the executable: by build-id, or by the checksum in the link.

use std::{
    io::{self, Write},
    path::{Component, Path, PathBuf},
};

use object::{Object, ObjectSection};

use super::{LARGEST, SymbolSource, Table, read_regular};

/// Largest uncompressed `.gnu_debugdata`, in bytes.
const LARGEST_EMBEDDED: usize = 256 << 20;

/// Symbols of the first debug file that fits. `seen_as` is the executable's path below `root`.
pub(super) fn find(elf: &object::File, seen_as: &Path, root: &Path) -> Option<(SymbolSource, Table)> {
    let build_id = elf.build_id().ok().flatten();
    let by_id = build_id.and_then(build_id_path).into_iter().flat_map(|path| {
        // By build-id a file of the host is as good as one of the server's container.
        [root.join(&path), Path::new("/").join(&path)]
    });
    for path in by_id {
        if let Some(table) = load(&path, build_id, None) {
            return Some((SymbolSource::DebugFile(path), table));
        }
    }
    let (name, checksum) = elf.gnu_debuglink().ok().flatten()?;
    for path in link_paths(name, seen_as) {
        let path = root.join(path);
        if let Some(table) = load(&path, build_id, Some(checksum)) {
            return Some((SymbolSource::DebugFile(path), table));
        }
    }
    None
}

/// Symbols of `.gnu_debugdata`, an ELF file in xz.
pub(super) fn embedded(elf: &object::File) -> Option<Table> {
    let compressed = elf.section_by_name(".gnu_debugdata")?.data().ok()?;
    let mut data = Limited(Vec::new());
    lzma_rs::xz_decompress(&mut &*compressed, &mut data).ok()?;
    let inner = object::File::parse(&*data.0).ok()?;
    Some(Table::collect(inner.symbols())).filter(|table| !table.is_empty())
}

/// `usr/lib/debug/.build-id/xx/yyyy.debug`, relative to a root.
pub(super) fn build_id_path(id: &[u8]) -> Option<PathBuf> {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let (first, rest) = id.split_at_checked(1)?;
    if rest.is_empty() {
        return None;
    }
    Some(format!("usr/lib/debug/.build-id/{}/{}.debug", hex(first), hex(rest)).into())
}

/// Where a debugger looks for the file of a link, relative to a root.
pub(super) fn link_paths(name: &[u8], seen_as: &Path) -> Vec<PathBuf> {
    let Ok(name) = std::str::from_utf8(name) else { return Vec::new() };
    let mut components = Path::new(name).components();
    let (Some(Component::Normal(name)), None) = (components.next(), components.next()) else { return Vec::new() };
    let directory = seen_as.parent().and_then(|directory| directory.strip_prefix("/").ok());
    let Some(directory) = directory else { return Vec::new() };
    vec![
        directory.join(name),
        directory.join(".debug").join(name),
        Path::new("usr/lib/debug").join(directory).join(name),
    ]
}

/// Symbols of the file at `path`, when it belongs to the executable.
fn load(path: &Path, build_id: Option<&[u8]>, checksum: Option<u32>) -> Option<Table> {
    let data = read_regular(path, LARGEST).ok()?;
    if checksum.is_some_and(|checksum| crc32(&data) != checksum) {
        tracing::warn!(path = %path.display(), "debug file does not belong to the server: wrong checksum");
        return None;
    }
    let elf = object::File::parse(&*data).ok()?;
    let own_id = elf.build_id().ok().flatten();
    let fits = if checksum.is_some() { own_id.is_none() || own_id == build_id } else { own_id == build_id };
    if !fits {
        tracing::warn!(path = %path.display(), "debug file does not belong to the server: other build-id");
        return None;
    }
    Some(Table::collect(elf.symbols())).filter(|table| !table.is_empty())
}

/// The checksum of `.gnu_debuglink`: CRC-32 of IEEE 802.3 (GDB manual, "Debugging Information in Separate Files").
fn crc32(data: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut byte = 0;
        while byte < 256 {
            let mut value = byte as u32;
            let mut bit = 0;
            while bit < 8 {
                value = (value >> 1) ^ if value & 1 == 1 { 0xedb8_8320 } else { 0 };
                bit += 1;
            }
            table[byte] = value;
            byte += 1;
        }
        table
    };
    !data.iter().fold(!0, |crc: u32, &byte| TABLE[usize::from(crc as u8 ^ byte)] ^ (crc >> 8))
}

/// Refuses to grow without bound.
struct Limited(Vec<u8>);

impl Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > LARGEST_EMBEDDED {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_of_the_standard_text() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(b""), 0);
    }

    #[test]
    fn paths_by_build_id() {
        let path = build_id_path(&[0x0a, 0xbc, 0xde]).unwrap();
        assert_eq!(path, Path::new("usr/lib/debug/.build-id/0a/bcde.debug"));
        assert_eq!(build_id_path(&[]), None);
        assert_eq!(build_id_path(&[1]), None);
    }

    #[test]
    fn paths_by_link() {
        let paths = link_paths(b"postgres.debug", Path::new("/usr/lib/bin/postgres"));
        let expected = [
            "usr/lib/bin/postgres.debug",
            "usr/lib/bin/.debug/postgres.debug",
            "usr/lib/debug/usr/lib/bin/postgres.debug",
        ];
        assert_eq!(paths, expected.map(PathBuf::from));
        for bad in [&b"../shadow"[..], b"/etc/passwd", b"a/b", b"..", b"", b"\xff"] {
            assert!(link_paths(bad, Path::new("/usr/bin/postgres")).is_empty());
        }
        assert!(link_paths(b"a", Path::new("")).is_empty());
    }
}
