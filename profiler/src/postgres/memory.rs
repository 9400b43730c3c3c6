//! Reads the memory of a live process: what a server keeps in its variables is truer than its process title, and an
//! offset counts only after a live read confirmed it.
//!
//! Every read is an ordinary system call, so a wrong address costs an error and never harms the process read.

use std::{fs::File, io, os::unix::fs::FileExt, sync::OnceLock};

/// Why memory could not be read.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The process ended, or its memory is already torn down.
    #[error("process {pid} is gone")]
    Gone { pid: u32 },
    /// Needs the same user or `CAP_SYS_PTRACE`; Yama and seccomp can forbid it too.
    #[error("not permitted to read the memory of process {pid}")]
    Denied { pid: u32 },
    /// Nothing readable at the address, or less than asked for.
    #[error("process {pid} has no readable memory at {address:#x}")]
    Unmapped { pid: u32, address: u64 },
    #[error("cannot read the memory of process {pid} at {address:#x}: {source}")]
    Os { pid: u32, address: u64, source: io::Error },
}

/// `UIO_MAXIOV` (include/uapi/linux/uio.h).
const IOV_MAX: usize = 1024;

/// The memory of one process. Values are in the byte order of this machine, pointers 64 bits wide.
#[derive(Debug)]
pub struct ProcessMemory {
    pid: u32,
    /// `/proc/PID/mem`, opened only where `process_vm_readv` is refused.
    file: OnceLock<File>,
}

impl ProcessMemory {
    /// Looks at a process that exists now; whether its memory may be read is known at the first read.
    ///
    /// # Errors
    /// [`MemoryError::Gone`] when there is no such process.
    pub fn open(pid: u32) -> Result<Self, MemoryError> {
        match std::fs::metadata(format!("/proc/{pid}")) {
            Ok(_) => Ok(Self { pid, file: OnceLock::new() }),
            Err(_) => Err(MemoryError::Gone { pid }),
        }
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Fills `buffer` from `address`, or fails: a partial read is an error.
    pub fn bytes(&self, address: u64, buffer: &mut [u8]) -> Result<(), MemoryError> {
        if buffer.is_empty() {
            return Ok(());
        }
        if address == 0 || address.checked_add(buffer.len() as u64).is_none() {
            return Err(MemoryError::Unmapped { pid: self.pid, address });
        }
        if self.file.get().is_none() {
            match vm_read(self.pid, address, buffer) {
                Ok(read) if read == buffer.len() => return Ok(()),
                Ok(_) => return Err(MemoryError::Unmapped { pid: self.pid, address }),
                Err(error) if matches!(error.raw_os_error(), Some(libc::EPERM | libc::ENOSYS)) => {}
                Err(error) => return Err(self.typed(error, address)),
            }
        }
        let file = self.mem_file(address)?;
        file.read_exact_at(buffer, address).map_err(|error| self.typed(error, address))
    }

    pub fn read_u32(&self, address: u64) -> Result<u32, MemoryError> {
        let mut value = [0; 4];
        self.bytes(address, &mut value).map(|()| u32::from_ne_bytes(value))
    }

    pub fn read_u64(&self, address: u64) -> Result<u64, MemoryError> {
        let mut value = [0; 8];
        self.bytes(address, &mut value).map(|()| u64::from_ne_bytes(value))
    }

    /// A pointer; NULL is 0 and no error.
    pub fn ptr(&self, address: u64) -> Result<u64, MemoryError> {
        self.read_u64(address)
    }

    /// The words at many addresses, with a system call for a thousand of them; 0 where one cannot be read.
    pub fn words(&self, addresses: &[u64]) -> Vec<u64> {
        let mut words = vec![0; addresses.len()];
        for (addresses, words) in addresses.chunks(IOV_MAX).zip(words.chunks_mut(IOV_MAX)) {
            if self.file.get().is_none() && vm_read_words(self.pid, addresses, words) {
                continue;
            }
            for (address, word) in addresses.iter().zip(words) {
                *word = self.read_u64(*address).unwrap_or(0);
            }
        }
        words
    }

    /// The C string at `address` without its terminator, cut at `max` bytes.
    ///
    /// Reads no further than the page the terminator is on, so that a string at the end of a mapping is no error.
    pub fn cstr(&self, address: u64, max: usize) -> Result<Vec<u8>, MemoryError> {
        const STEP: u64 = 4096; // no mapping ends inside an aligned block of this size
        let mut text = Vec::new();
        while text.len() < max {
            let at = address.checked_add(text.len() as u64).ok_or(MemoryError::Unmapped { pid: self.pid, address })?;
            let step = (STEP - at % STEP).min((max - text.len()) as u64) as usize;
            let mut block = vec![0; step];
            self.bytes(at, &mut block)?;
            if let Some(end) = block.iter().position(|&byte| byte == 0) {
                text.extend_from_slice(&block[..end]);
                return Ok(text);
            }
            text.extend_from_slice(&block);
        }
        Ok(text)
    }

    fn mem_file(&self, address: u64) -> Result<&File, MemoryError> {
        if let Some(file) = self.file.get() {
            return Ok(file);
        }
        let file = File::open(format!("/proc/{}/mem", self.pid)).map_err(|error| self.typed(error, address))?;
        Ok(self.file.get_or_init(|| file))
    }

    fn typed(&self, error: io::Error, address: u64) -> MemoryError {
        let pid = self.pid;
        match error.raw_os_error() {
            Some(libc::ESRCH | libc::ENOENT) => MemoryError::Gone { pid },
            Some(libc::EPERM | libc::EACCES) => MemoryError::Denied { pid },
            Some(libc::EFAULT | libc::EIO) => MemoryError::Unmapped { pid, address },
            // The memory of an ended process reads as empty.
            None if error.kind() == io::ErrorKind::UnexpectedEof => MemoryError::Gone { pid },
            _ => MemoryError::Os { pid, address, source: error },
        }
    }
}

fn vm_read(pid: u32, address: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let local = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let remote = libc::iovec { iov_base: address as usize as *mut libc::c_void, iov_len: buffer.len() };
    // SAFETY: `local` covers exactly `buffer`; the kernel checks `remote` against the other process.
    let read = unsafe { libc::process_vm_readv(pid as libc::pid_t, &local, 1, &remote, 1, 0) };
    usize::try_from(read).map_err(|_| io::Error::last_os_error())
}

/// Whether all of at most [`IOV_MAX`] words could be read.
fn vm_read_words(pid: u32, addresses: &[u64], words: &mut [u64]) -> bool {
    let local = libc::iovec { iov_base: words.as_mut_ptr().cast(), iov_len: size_of_val(words) };
    let remote: Vec<_> = addresses
        .iter()
        .map(|address| libc::iovec { iov_base: *address as usize as *mut libc::c_void, iov_len: size_of::<u64>() })
        .collect();
    // SAFETY: `local` covers exactly `words`; the kernel checks `remote` against the other process.
    let read = unsafe {
        libc::process_vm_readv(pid as libc::pid_t, &local, 1, remote.as_ptr(), remote.len() as libc::c_ulong, 0)
    };
    usize::try_from(read).is_ok_and(|read| read == size_of_val(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> ProcessMemory {
        ProcessMemory::open(std::process::id()).unwrap()
    }

    #[test]
    fn reads_its_own_variables() {
        let number = 0x1122_3344_5566_7788_u64;
        let text = b"hello\0world\0";
        let memory = own();
        assert_eq!(memory.read_u64(&raw const number as u64).unwrap(), number);
        assert_eq!(memory.read_u32(&raw const number as u64).unwrap(), number as u32);
        let at = text.as_ptr() as u64;
        assert_eq!(memory.cstr(at, 100).unwrap(), b"hello");
        assert_eq!(memory.cstr(at, 3).unwrap(), b"hel");
        assert_eq!(memory.cstr(at, 0).unwrap(), b"");
    }

    #[test]
    fn reads_many_words_at_once() {
        let numbers: Vec<u64> = (1..3000).collect();
        let mut addresses: Vec<u64> = numbers.iter().map(|number| std::ptr::from_ref(number) as u64).collect();
        assert_eq!(own().words(&addresses), numbers);
        // One that cannot be read costs no other.
        addresses[1500] = 16;
        let words = own().words(&addresses);
        assert_eq!((words[1499], words[1500], words[1501]), (1500, 0, 1502));
        assert!(own().words(&[]).is_empty());
    }

    #[test]
    fn both_ways_of_reading_agree() {
        let number = 0xdead_beef_u32;
        let memory = own();
        memory.mem_file(0).unwrap();
        assert_eq!(memory.read_u32(&raw const number as u64).unwrap(), number);
        assert!(matches!(memory.read_u32(16), Err(MemoryError::Unmapped { .. })));
    }

    #[test]
    fn a_string_may_end_at_the_end_of_its_mapping() {
        // SAFETY: a fresh private mapping of two pages, the second of which is given back.
        let page = unsafe {
            let page = libc::mmap(
                std::ptr::null_mut(),
                8192,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            assert_ne!(page, libc::MAP_FAILED);
            libc::munmap(page.byte_add(4096), 4096);
            page.cast::<u8>().add(4093).copy_from_nonoverlapping(c"ab".as_ptr().cast(), 3);
            page
        };
        assert_eq!(own().cstr(page as u64 + 4093, 1000).unwrap(), b"ab");
        assert!(matches!(own().read_u64(page as u64 + 4092), Err(MemoryError::Unmapped { .. })));
        // SAFETY: the page mapped above.
        unsafe { libc::munmap(page, 4096) };
    }

    #[test]
    fn bad_addresses_and_missing_processes_are_typed() {
        for address in [0, 1, u64::MAX, u64::MAX - 3] {
            assert!(matches!(own().read_u64(address), Err(MemoryError::Unmapped { .. })), "{address:#x}");
        }
        assert!(matches!(ProcessMemory::open(u32::MAX), Err(MemoryError::Gone { .. })));
    }
}
