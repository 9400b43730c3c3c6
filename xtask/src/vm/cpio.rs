//! The archive that a kernel takes for its first file system: cpio, format `newc`
//! (Documentation/driver-api/early-userspace/buffer-format.rst).
//!
//! Written here and not by the program of that name: owners and devices can then be given by anyone, not by root alone.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use anyhow::{Context, Result};

/// File types of `mode` (include/uapi/linux/stat.h).
const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

pub struct Archive<W> {
    out: W,
    written: usize,
    inodes: u32,
    names: BTreeSet<String>,
}

struct Entry<'a> {
    mode: u32,
    owner: u32,
    device: (u32, u32),
    data: &'a [u8],
}

impl<W: Write> Archive<W> {
    pub fn new(out: W) -> Self {
        Self { out, written: 0, inodes: 0, names: BTreeSet::new() }
    }

    /// What is there already stays as it is, here and in the other methods.
    pub fn directory(&mut self, path: &str, mode: u32, owner: u32) -> io::Result<()> {
        self.add(path, Entry { mode: DIRECTORY | mode, owner, device: (0, 0), data: &[] })
    }

    pub fn file(&mut self, path: &str, mode: u32, owner: u32, data: &[u8]) -> io::Result<()> {
        self.add(path, Entry { mode: REGULAR | mode, owner, device: (0, 0), data })
    }

    pub fn symlink(&mut self, path: &str, to: &str) -> io::Result<()> {
        self.add(path, Entry { mode: SYMLINK | 0o777, owner: 0, device: (0, 0), data: to.as_bytes() })
    }

    pub fn character_device(&mut self, path: &str, major: u32, minor: u32) -> io::Result<()> {
        self.add(path, Entry { mode: CHARACTER_DEVICE | 0o600, owner: 0, device: (major, minor), data: &[] })
    }

    /// A file of this machine, with its permissions.
    pub fn copy(&mut self, from: &Path, path: &str, owner: u32) -> Result<()> {
        let describe = || format!("{} for the virtual machine", from.display());
        let mode = fs::metadata(from).with_context(describe)?.permissions().mode() & 0o7777;
        Ok(self.file(path, mode, owner, &fs::read(from).with_context(describe)?)?)
    }

    /// A directory of this machine with all below it; links are followed.
    pub fn tree(&mut self, from: &Path, path: &str, owner: u32) -> Result<()> {
        let mode = fs::metadata(from).with_context(|| from.display().to_string())?.permissions().mode() & 0o7777;
        self.directory(path, mode, owner)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            let below = format!("{path}/{}", entry.file_name().to_string_lossy());
            match entry.path().is_dir() {
                true => self.tree(&entry.path(), &below, owner)?,
                false => self.copy(&entry.path(), &below, owner)?,
            }
        }
        Ok(())
    }

    pub fn finish(mut self) -> io::Result<W> {
        self.header("TRAILER!!!", &Entry { mode: 0, owner: 0, device: (0, 0), data: &[] })?;
        self.pad()?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn add(&mut self, path: &str, entry: Entry<'_>) -> io::Result<()> {
        let name = path.trim_start_matches('/');
        if !self.names.insert(name.to_owned()) {
            return Ok(());
        }
        if let Some((parent, _)) = name.rsplit_once('/') {
            self.directory(parent, 0o755, 0)?;
        }
        self.header(name, &entry)?;
        self.write(entry.data)?;
        self.pad()
    }

    fn header(&mut self, name: &str, entry: &Entry<'_>) -> io::Result<()> {
        self.inodes += 1;
        let size = u32::try_from(entry.data.len()).map_err(io::Error::other)?;
        let (major, minor) = entry.device;
        // Inode, mode, uid, gid, links, mtime, size, device of the file, device it stands for, length of the name, sum.
        let name_len = name.len() as u32 + 1;
        let fields = [self.inodes, entry.mode, entry.owner, entry.owner, 1, 0, size, 0, 0, major, minor, name_len, 0];
        let fields: String = fields.iter().map(|field| format!("{field:08X}")).collect();
        self.write(format!("070701{fields}{name}\0").as_bytes())?;
        self.pad()
    }

    fn write(&mut self, data: &[u8]) -> io::Result<()> {
        self.written += data.len();
        self.out.write_all(data)
    }

    /// Names and data begin at multiples of four.
    fn pad(&mut self) -> io::Result<()> {
        let zeros = self.written.next_multiple_of(4) - self.written;
        self.write(&[0; 3][..zeros])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_what_the_format_says() {
        let mut archive = Archive::new(Vec::new());
        archive.file("/a/b", 0o644, 70, b"hello").expect("memory");
        archive.directory("a", 0o700, 1).expect("memory");
        let bytes = archive.finish().expect("memory");
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8_lossy(&bytes);
        let headers: Vec<_> = text.split("070701").skip(1).collect();
        assert_eq!(headers.len(), 3, "{text}");
        // The parent comes first and stays as it was made.
        assert!(headers[0][8..].starts_with("000041ED0000000000000000"), "{text}");
        assert!(headers[0][104..].starts_with("a\0"), "{text}");
        assert!(headers[1][8..].starts_with("000081A40000004600000046"), "{text}");
        assert!(headers[1][104..].starts_with("a/b\0") && headers[1].contains("hello"), "{text}");
        assert!(headers[2][104..].starts_with("TRAILER!!!\0"), "{text}");
    }
}
