//! Pages of a relation in the server's buffer pool, which are newer than its files: a relation that was made or rewritten
//! a moment ago is in no file before the next checkpoint.
//!
//! Nothing is locked. A page counts when its buffer is valid and has the same tag before and after, and two readings of
//! it agree. One reading of all descriptors of a large pool would be too much for one look: what is left of it comes with
//! the next ones, and the buffers in which something was found are asked first.

use std::collections::{BTreeSet, HashMap, HashSet};

use pgstrobe_common::fields::{ABSENT, UserFields};

use super::page;
use crate::postgres::{layout::is_address, memory::ProcessMemory, server::Server};

/// Descriptors read in one look: 16 MiB of them, which stand for a pool of 2 GiB.
pub const MOST_DESCRIPTORS: u32 = 1 << 18;
/// Most pages taken in one look, in bytes. Those beyond count as their file has them.
const MOST_BYTES: usize = 32 << 20;
/// Descriptors read at once.
const CHUNK: u32 = 4096;
/// Readings of one page before it is given up: each may meet a change.
const TRIES: usize = 3;
/// `BM_VALID` (src/include/storage/buf_internals.h, 13 to 18): the page is read in.
const VALID: u32 = 1 << 24;
/// Words of a `BufferTag`: tablespace, database, file number, fork, block (same file; 16 renamed them only).
const TAG_WORDS: usize = 5;
const MAIN_FORK: u32 = 0;
/// `NBuffers` is at most half of an `int`.
const MOST_BUFFERS: u32 = 1 << 30;

/// Whose pages are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Whose {
    pub tablespace: u32,
    pub database: u32,
    pub filenode: u32,
}

/// Pages by relation and block.
pub type Pages = HashMap<Whose, HashMap<u32, Vec<u8>>>;

/// The buffer pool of one server.
pub struct Pool {
    memory: ProcessMemory,
    blocks: u64,
    descriptors: u64,
    count: u32,
    /// Bytes from one descriptor to the next.
    stride: u32,
    tag: u32,
    state: u32,
    /// Size of a page, in bytes.
    page: usize,
    /// Where the next look goes on.
    cursor: u32,
    /// Buffers in which something was found.
    known: BTreeSet<u32>,
}

impl Pool {
    /// None where the server does not say where its pool is.
    pub fn open(server: &Server, page: usize) -> Option<Self> {
        let layout = server.layout?;
        let pid = server.cluster.postmaster_pid;
        let base = server.binary.load_base(pid)?;
        let memory = ProcessMemory::open(pid).ok()?;
        let variable = |name| Some(base + server.binary.symbol(name)?.address);
        let pointer = |name| memory.ptr(variable(name)?).ok().filter(|address| is_address(*address));
        let UserFields { buffer_tag: tag, buffer_state: state, .. } = layout.user;
        let count = memory.read_u32(variable("NBuffers")?).ok()?;
        let (blocks, descriptors) = (pointer("BufferBlocks")?, pointer("BufferDescriptors")?);
        let stride = layout.buffer_size;
        let fits = [tag, state].iter().all(|field| *field != ABSENT && field + 4 * TAG_WORDS as u32 <= stride);
        (fits && (1..=MOST_BUFFERS).contains(&count)).then_some(())?;
        let (cursor, known) = (0, BTreeSet::new());
        Some(Self { memory, blocks, descriptors, count, stride, tag, state, page, cursor, known })
    }

    /// Whether one look sees all of it.
    pub fn is_seen_whole(&self) -> bool {
        self.count <= MOST_DESCRIPTORS
    }

    /// Size of the pool in bytes.
    pub fn bytes(&self) -> u64 {
        u64::from(self.count) * self.page as u64
    }

    /// The pages of these relations, as far as this look finds them.
    pub fn pages(&mut self, wanted: &HashSet<Whose>) -> Pages {
        let mut pages = Pages::new();
        let mut left = MOST_BYTES / self.page;
        for buffer in std::mem::take(&mut self.known) {
            self.look_at(buffer, &self.descriptor(buffer), wanted, &mut pages, &mut left);
        }
        let mut bytes = vec![0; (CHUNK * self.stride) as usize];
        let mut to_read = self.count.min(MOST_DESCRIPTORS);
        while to_read > 0 {
            if self.cursor >= self.count {
                self.cursor = 0;
            }
            let (first, n) = (self.cursor, CHUNK.min(to_read).min(self.count - self.cursor));
            let bytes = &mut bytes[..(n * self.stride) as usize];
            if self.memory.bytes(self.address(first), bytes).is_err() {
                return pages;
            }
            for (i, descriptor) in bytes.chunks_exact(self.stride as usize).enumerate() {
                self.look_at(first + i as u32, descriptor, wanted, &mut pages, &mut left);
            }
            self.cursor += n;
            to_read -= n;
        }
        pages
    }

    /// Takes the page of a buffer if it is wanted.
    fn look_at(
        &mut self,
        buffer: u32,
        descriptor: &[u8],
        wanted: &HashSet<Whose>,
        pages: &mut Pages,
        left: &mut usize,
    ) {
        let Some((whose, block)) = self.tag(descriptor) else { return };
        if !wanted.contains(&whose) || *left == 0 || self.known.contains(&buffer) {
            return;
        }
        self.known.insert(buffer);
        let at = self.blocks + u64::from(buffer) * self.page as u64;
        let (mut page, mut again) = (vec![0; self.page], vec![0; self.page]);
        let read = |into: &mut [u8]| self.memory.bytes(at, into).is_ok();
        for _ in 0..TRIES {
            if !read(&mut page) || !read(&mut again) {
                return;
            }
            if page == again {
                break;
            }
        }
        let same = page == again && self.tag(&self.descriptor(buffer)) == Some((whose, block));
        if same && page::size(&page) == Some(self.page) {
            *left -= 1;
            pages.entry(whose).or_default().insert(block, page);
        }
    }

    /// Whose valid page of the main fork a descriptor names.
    fn tag(&self, descriptor: &[u8]) -> Option<(Whose, u32)> {
        let word = |n: usize| page::u32_at(descriptor, self.tag as usize + 4 * n);
        let whose = Whose { tablespace: word(0)?, database: word(1)?, filenode: word(2)? };
        let valid = page::u32_at(descriptor, self.state as usize)? & VALID != 0;
        (valid && word(3)? == MAIN_FORK).then_some((whose, word(4)?))
    }

    /// One descriptor; empty where it cannot be read.
    fn descriptor(&self, buffer: u32) -> Vec<u8> {
        let mut bytes = vec![0; self.stride as usize];
        let read = self.memory.bytes(self.address(buffer), &mut bytes);
        if read.is_err() {
            bytes.clear();
        }
        bytes
    }

    fn address(&self, buffer: u32) -> u64 {
        self.descriptors + u64::from(buffer) * u64::from(self.stride)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRIDE: usize = 64;
    const STATE: usize = 24;

    /// A pool in the memory of this process.
    struct Made {
        descriptors: Vec<u8>,
        blocks: Vec<u8>,
    }

    impl Made {
        fn new(count: usize) -> Self {
            Self { descriptors: vec![0; count * STRIDE], blocks: vec![0; count * 8192] }
        }

        /// Puts a page of one row into a buffer.
        fn put(&mut self, buffer: usize, [tablespace, database, filenode, fork, block]: [u32; 5], state: u32) {
            let descriptor = &mut self.descriptors[buffer * STRIDE..][..STRIDE];
            for (i, word) in [tablespace, database, filenode, fork, block].into_iter().enumerate() {
                descriptor[4 * i..4 * i + 4].copy_from_slice(&word.to_le_bytes());
            }
            descriptor[STATE..STATE + 4].copy_from_slice(&state.to_le_bytes());
            let page = page::made::page(&[(0x0900, 700, 0, &(buffer as u32).to_le_bytes())]);
            self.blocks[buffer * 8192..][..8192].copy_from_slice(&page);
        }

        fn pool(&self) -> Pool {
            Pool {
                memory: ProcessMemory::open(std::process::id()).unwrap(),
                blocks: self.blocks.as_ptr() as u64,
                descriptors: self.descriptors.as_ptr() as u64,
                count: (self.descriptors.len() / STRIDE) as u32,
                stride: STRIDE as u32,
                tag: 0,
                state: STATE as u32,
                page: 8192,
                cursor: 0,
                known: BTreeSet::new(),
            }
        }
    }

    const WANTED: Whose = Whose { tablespace: 1663, database: 5, filenode: 1259 };

    /// Block and buffer of the pages found.
    fn found(pool: &mut Pool) -> Vec<(u32, u32)> {
        let pages = pool.pages(&HashSet::from([WANTED]));
        let rows = |page: &[u8]| page::rows(page).map(|row| page::u32_at(row.data, 0).unwrap()).next().unwrap();
        let mut all: Vec<_> = pages.values().flatten().map(|(block, page)| (*block, rows(page))).collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn valid_pages_of_the_main_fork() {
        let mut made = Made::new(100);
        made.put(7, [1663, 5, 1259, 0, 3], VALID | 1 << 25);
        made.put(99, [1663, 5, 1259, 0, 0], VALID);
        made.put(8, [1663, 5, 1259, 2, 0], VALID);
        made.put(9, [1663, 5, 1259, 0, 1], 0);
        made.put(10, [1663, 6, 1259, 0, 1], VALID);
        made.put(11, [1663, 5, 1260, 0, 1], VALID);
        // A page that is none yet.
        made.put(12, [1663, 5, 1259, 0, 9], VALID);
        made.blocks[12 * 8192..13 * 8192].fill(0);
        let mut pool = made.pool();
        assert!(pool.is_seen_whole());
        for _ in 0..3 {
            assert_eq!(found(&mut pool), [(0, 99), (3, 7)]);
        }
        // A buffer is used for something else.
        made.put(7, [1663, 5, 4711, 0, 3], VALID);
        assert_eq!(found(&mut pool), [(0, 99)]);
    }

    #[test]
    fn a_large_pool_is_read_in_parts_and_what_was_found_first() {
        let count = MOST_DESCRIPTORS as usize + 5000;
        // Untouched memory takes none.
        let mut made = Made { descriptors: vec![0; count * STRIDE], blocks: vec![0; count * 8192] };
        made.put(3, [1663, 5, 1259, 0, 0], VALID);
        made.put(count - 1, [1663, 5, 1259, 0, 1], VALID);
        let mut pool = made.pool();
        assert!(!pool.is_seen_whole());
        assert_eq!(found(&mut pool), [(0, 3)]);
        for _ in 0..3 {
            assert_eq!(found(&mut pool), [(0, 3), (1, count as u32 - 1)]);
        }
        pool.descriptors = 1 << 50;
        assert_eq!(found(&mut pool), []);
    }
}
