//! A block device of our own: a loop device over a file without a name, gone with the value or its process, however that
//! ends.

use std::fs::{self, File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Commands of the loop driver (include/uapi/linux/loop.h).
const GET_FREE: libc::c_ulong = 0x4c82;
const SET_FD: libc::c_ulong = 0x4c00;
const SET_STATUS: libc::c_ulong = 0x4c04;
const SET_DIRECT_IO: libc::c_ulong = 0x4c08;
/// Commands of file systems (include/uapi/linux/fs.h).
const FIFREEZE: libc::c_ulong = 0xc004_5877;
const FITHAW: libc::c_ulong = 0xc004_5878;
/// The kernel takes the device apart with its last user.
const AUTOCLEAR: u32 = 4;
/// `struct loop_info64`, and where its flags are.
const INFO_BYTES: usize = 232;
const FLAGS_AT: usize = 52;

pub struct LoopDisk {
    /// `loop3`.
    pub name: String,
    /// `major:minor`.
    pub number: String,
    device: File,
    image: File,
    mebibytes: u64,
    mounted: Option<tempfile::TempDir>,
}

impl LoopDisk {
    /// Over memory, with one of the kernel's schedulers.
    pub fn new(mebibytes: u64, scheduler: &str) -> Result<Self, String> {
        let dir = if Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "/tmp" };
        Self::over(Path::new(dir), mebibytes, scheduler)
    }

    /// Over a file in a directory.
    pub fn over(dir: &Path, mebibytes: u64, scheduler: &str) -> Result<Self, String> {
        let image = tempfile::tempfile_in(dir).and_then(|file| file.set_len(mebibytes << 20).map(|()| file));
        let image = image.map_err(|error| format!("{}: {error}", dir.display()))?;
        let control = OpenOptions::new().read(true).write(true).open("/dev/loop-control");
        let control = control.map_err(|error| format!("/dev/loop-control: {error}"))?;
        for _ in 0..20 {
            // SAFETY: a command without arguments on an open descriptor.
            let number = unsafe { libc::ioctl(control.as_raw_fd(), GET_FREE) };
            if number < 0 {
                return Err(format!("no loop device: {}", std::io::Error::last_os_error()));
            }
            let name = format!("loop{number}");
            let device = OpenOptions::new().read(true).write(true).open(format!("/dev/{name}"));
            let device = device.map_err(|error| format!("/dev/{name}: {error}"))?;
            // SAFETY: both descriptors are open.
            if unsafe { libc::ioctl(device.as_raw_fd(), SET_FD, image.as_raw_fd()) } != 0 {
                // Another one was faster.
                continue;
            }
            let mut info = [0_u8; INFO_BYTES];
            info[FLAGS_AT..FLAGS_AT + 4].copy_from_slice(&AUTOCLEAR.to_ne_bytes());
            // SAFETY: the kernel reads no more than the struct.
            if unsafe { libc::ioctl(device.as_raw_fd(), SET_STATUS, info.as_ptr()) } != 0 {
                return Err(format!("{name}: {}", std::io::Error::last_os_error()));
            }
            let read = |file: &str| fs::read_to_string(format!("/sys/block/{name}/{file}")).map_err(|e| e.to_string());
            let number = read("dev")?.trim().to_string();
            let disk = Self { name, number, device, image, mebibytes, mounted: None };
            disk.schedule(scheduler)?;
            return Ok(disk);
        }
        Err("every loop device was taken by others".into())
    }

    /// Takes another of the kernel's schedulers, which waits for the requests in the device and makes new ones wait.
    pub fn schedule(&self, scheduler: &str) -> Result<(), String> {
        let path = format!("/sys/block/{}/queue/scheduler", self.name);
        fs::write(&path, scheduler).map_err(|error| format!("{path}: {scheduler}: {error}"))?;
        let now = fs::read_to_string(&path).map_err(|error| error.to_string())?;
        let one = format!("[{scheduler}]");
        if now.contains(&one) || now.trim() == scheduler { Ok(()) } else { Err(format!("no {scheduler}: {now}")) }
    }

    /// Requests go on to the device below the file as they are, past the page cache.
    pub fn direct(&self) -> Result<(), String> {
        // SAFETY: a number as argument.
        match unsafe { libc::ioctl(self.device.as_raw_fd(), SET_DIRECT_IO, 1_u64) } {
            0 => Ok(()),
            _ => Err(format!("direct I/O: {}", std::io::Error::last_os_error())),
        }
    }

    pub fn path(&self) -> PathBuf {
        format!("/dev/{}", self.name).into()
    }

    /// `major:minor` of the whole disk on which the file lies, if it lies on one.
    pub fn below(&self) -> Option<String> {
        let id = self.image.metadata().ok()?.dev();
        let dir = fs::canonicalize(format!("/sys/dev/block/{}:{}", libc::major(id), libc::minor(id))).ok()?;
        let whole = if dir.join("partition").exists() { dir.parent()?.to_path_buf() } else { dir };
        Some(fs::read_to_string(whole.join("dev")).ok()?.trim().to_string())
    }

    /// As the kernel's tracepoints have it: major × 2²⁰ + minor.
    pub fn dev(&self) -> u32 {
        let (major, minor) = self.number.split_once(':').expect("major:minor");
        major.parse::<u32>().expect("major") << 20 | minor.parse::<u32>().expect("minor")
    }

    /// Opened past the page cache.
    pub fn open(&self) -> File {
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(libc::O_DIRECT).open(self.path()).expect("the loop device")
    }

    /// A file system without a journal in the first half, mounted: its directory.
    pub fn mount(&mut self) -> Result<PathBuf, String> {
        call(
            Command::new("mkfs.ext4")
                .args(["-q", "-F", "-O", "^has_journal"])
                .args(LAZY)
                .arg(self.path())
                .arg(format!("{}M", self.mebibytes / 2)),
        )?;
        let dir =
            tempfile::Builder::new().prefix("pgstrobe-mount-").tempdir_in("/var/tmp").map_err(|e| e.to_string())?;
        call(Command::new("mount").args(["-t", "ext4", "-o", "noatime"]).arg(self.path()).arg(dir.path()))?;
        let path = dir.path().to_path_buf();
        self.mounted = Some(dir);
        Ok(path)
    }

    /// Stops all writes to its file system, which wait until the value that is returned is dropped.
    pub fn freeze(&self) -> Result<Frozen, String> {
        let dir = self.mounted.as_ref().ok_or("it is not mounted")?;
        let dir = File::open(dir.path()).map_err(|error| error.to_string())?;
        // SAFETY: a command on an open descriptor.
        match unsafe { libc::ioctl(dir.as_raw_fd(), FIFREEZE, 0) } {
            0 => Ok(Frozen(dir)),
            _ => Err(format!("FIFREEZE: {}", std::io::Error::last_os_error())),
        }
    }

    /// The kernel's own statistics so far (Documentation/ABI/stable/sysfs-block).
    pub fn stat(&self) -> Stat {
        let text = fs::read_to_string(format!("/sys/block/{}/stat", self.name)).expect("statistics");
        let n: Vec<u64> = text.split_whitespace().map(|word| word.parse().expect("a number")).collect();
        let at = |i: usize| n.get(i).copied().unwrap_or(0);
        Stat {
            reads: at(0),
            read_bytes: at(2) * 512,
            writes: at(4),
            written_bytes: at(6) * 512,
            discards: at(11),
            discarded_bytes: at(13) * 512,
            flushes: at(15),
        }
    }
}

const LAZY: [&str; 2] = ["-E", "lazy_itable_init=0"];

impl Drop for LoopDisk {
    fn drop(&mut self) {
        if let Some(dir) = &self.mounted
            && let Err(error) = call(Command::new("umount").arg("--lazy").arg(dir.path()))
        {
            eprintln!("{error}");
        }
    }
}

/// A file system that takes no writes.
pub struct Frozen(File);

impl Drop for Frozen {
    fn drop(&mut self) {
        // SAFETY: a command on an open descriptor.
        if unsafe { libc::ioctl(self.0.as_raw_fd(), FITHAW, 0) } != 0 {
            eprintln!("FITHAW: {}", std::io::Error::last_os_error());
        }
    }
}

/// Counters of a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    pub reads: u64,
    pub read_bytes: u64,
    /// Writes that only ask for a flush included.
    pub writes: u64,
    pub written_bytes: u64,
    pub discards: u64,
    pub discarded_bytes: u64,
    pub flushes: u64,
}

impl Stat {
    pub fn since(self, before: Self) -> Self {
        Self {
            reads: self.reads - before.reads,
            read_bytes: self.read_bytes - before.read_bytes,
            writes: self.writes - before.writes,
            written_bytes: self.written_bytes - before.written_bytes,
            discards: self.discards - before.discards,
            discarded_bytes: self.discarded_bytes - before.discarded_bytes,
            flushes: self.flushes - before.flushes,
        }
    }
}

/// Memory that direct I/O takes.
pub struct Aligned(*mut u8, usize);

impl Aligned {
    pub fn new(bytes: usize) -> Self {
        let mut at = std::ptr::null_mut();
        // SAFETY: the pointer is ours.
        assert_eq!(unsafe { libc::posix_memalign(&mut at, 4096, bytes) }, 0);
        // SAFETY: so long, and ours.
        unsafe { libc::memset(at, 7, bytes) };
        Self(at.cast(), bytes)
    }

    pub fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: so long, initialised, borrowed through us.
        unsafe { std::slice::from_raw_parts_mut(self.0, self.1) }
    }
}

impl Drop for Aligned {
    fn drop(&mut self) {
        // SAFETY: ours, by posix_memalign.
        unsafe { libc::free(self.0.cast()) };
    }
}

fn call(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let said = || format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    if output.status.success() { Ok(()) } else { Err(said()) }
}
