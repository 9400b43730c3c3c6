//! Requests of every kind to a device of our own.

use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::RwLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crate::witness::wait_until;
use xtask::loop_disk::{Aligned, LoopDisk};

/// Reads and writes of several sizes by several threads, a flush after every tenth of them, and at the end a discard. The
/// disk has 64 MiB.
pub fn use_disk(disk: &LoopDisk, threads: u64, rounds: u64) {
    thread::scope(|scope| {
        for part in 0..threads {
            scope.spawn(move || {
                let file = disk.open();
                let mut buffer = Aligned::new(256 << 10);
                for i in 0..rounds {
                    let bytes = 4096 << (i % 7);
                    let at = (part * rounds + i) % 96 * (256 << 10);
                    file.write_all_at(&buffer.bytes()[..bytes as usize], at).expect("a write");
                    file.read_exact_at(&mut buffer.bytes()[..4096], at).expect("a read");
                    if i % 10 == 0 {
                        file.sync_data().expect("a flush");
                    }
                }
            });
        }
    });
    // From where on and how much, in bytes.
    let range: [u64; 2] = [32 << 20, 4 << 20];
    /// include/uapi/linux/fs.h.
    const BLKDISCARD: libc::c_ulong = 0x1277;
    // SAFETY: the kernel reads two numbers.
    let done = unsafe { libc::ioctl(disk.open().as_raw_fd(), BLKDISCARD, range.as_ptr()) };
    assert_eq!(done, 0, "discard: {}", std::io::Error::last_os_error());
}

/// Bytes of each read of [`crowd`].
pub const CROWD_BLOCK: u64 = 64 << 10;

/// Many threads at a time, so that requests wait for the scheduler; each in a part of its own. They go before all others, so
/// before the worker that serves the device: it never runs while one of them has a request to make. They begin together: one
/// that began as it was made would be done before the next.
pub fn crowd(disk: &LoopDisk, threads: u64, each: u64) {
    let ready = AtomicU64::new(0);
    // Its end wakes all that wait for it at once; a barrier's wakes one after the other.
    let gate = RwLock::new(());
    let closed = gate.write().expect("no thread has panicked");
    thread::scope(|scope| {
        for part in 0..threads {
            let (ready, gate) = (&ready, &gate);
            scope.spawn(move || {
                let first = libc::sched_param { sched_priority: 1 };
                // SAFETY: of this thread alone, which ends soon.
                let set = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const first) };
                assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
                let file = disk.open();
                let mut buffer = Aligned::new(CROWD_BLOCK as usize);
                ready.fetch_add(1, Ordering::Relaxed);
                drop(gate.read().expect("the gate"));
                for i in 0..each {
                    let at = (part * each + i) * CROWD_BLOCK;
                    file.read_exact_at(buffer.bytes(), at).expect("a read");
                }
            });
        }
        wait_until("all of the crowd wait", || ready.load(Ordering::Relaxed) == threads);
        drop(closed);
    });
}
