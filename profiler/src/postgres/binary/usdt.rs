//! Static probes (USDT): the notes that `DTRACE_PROBE` leaves, format of SystemTap's <sys/sdt.h>, note type 3.

use object::{Object, ObjectSection};

/// One place of a static probe. Addresses are as linked, with prelinking already undone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usdt {
    pub provider: String,
    /// With double underscores, as in the note: `query__start`.
    pub name: String,
    /// Of the `nop` that a trap replaces.
    pub address: u64,
    /// Address of `.stapsdt.base` that the note was written with.
    pub base: u64,
    /// Of the 16-bit counter that must not be zero for the arguments to be made.
    pub semaphore: Option<u64>,
    /// Where the arguments are, as `SIZE@OPERAND` in the assembler's words: `-4@%eax 8@16(%rbp)`.
    pub args: String,
    /// Offset of `address` in the file, as a uprobe wants it.
    pub file_offset: Option<u64>,
    /// Offset of the semaphore in the file (`ref_ctr_offset`).
    pub semaphore_file_offset: Option<u64>,
}

const NOTE_TYPE: u32 = 3;

/// All probes of an executable; file offsets are left to the caller.
pub(super) fn collect(elf: &object::File) -> Vec<Usdt> {
    let base = elf.section_by_name(".stapsdt.base").map(|section| section.address());
    let mut usdts = Vec::new();
    // A linker may leave several sections of the name.
    for section in elf.sections().filter(|section| section.name() == Ok(".note.stapsdt")) {
        if let Ok(data) = section.data() {
            parse(data, elf.is_64(), elf.is_little_endian(), base, &mut usdts);
        }
    }
    usdts
}

/// Parses a note section; stops at the first note that does not fit. `base` is where `.stapsdt.base` really is.
pub(super) fn parse(mut data: &[u8], is_64: bool, little: bool, base: Option<u64>, usdts: &mut Vec<Usdt>) {
    while let Some((kind, name, description)) = next_note(&mut data, little) {
        if kind == NOTE_TYPE && name == b"stapsdt\0" {
            usdts.extend(describe(description, is_64, little, base));
        }
    }
}

/// Type, name and description; all are padded to four bytes.
fn next_note<'a>(data: &mut &'a [u8], little: bool) -> Option<(u32, &'a [u8], &'a [u8])> {
    let word = |data: &mut &'a [u8]| take(data, 4).map(|bytes| integer(bytes, little));
    let name_size = word(data)?;
    let size = word(data)?;
    let kind = word(data)?;
    let name = padded(data, name_size)?;
    let description = padded(data, size)?;
    Some((kind as u32, name, description))
}

/// Three addresses, then provider, name and arguments, each ended by a zero.
fn describe(mut data: &[u8], is_64: bool, little: bool, actual_base: Option<u64>) -> Option<Usdt> {
    let width = if is_64 { 8 } else { 4 };
    let mut address = || take(&mut data, width).map(|bytes| integer(bytes, little));
    let (place, base, semaphore) = (address()?, address()?, address()?);
    let mut texts = data.split(|&byte| byte == 0).map(|text| String::from_utf8_lossy(text).into_owned());
    let (provider, name) = (texts.next()?, texts.next()?);
    let args = texts.next().unwrap_or_default();
    let moved = actual_base.map_or(0, |actual| actual.wrapping_sub(base));
    Some(Usdt {
        provider,
        name,
        address: place.wrapping_add(moved),
        base,
        semaphore: (semaphore != 0).then(|| semaphore.wrapping_add(moved)),
        args,
        file_offset: None,
        semaphore_file_offset: None,
    })
}

fn take<'a>(data: &mut &'a [u8], size: usize) -> Option<&'a [u8]> {
    let (taken, rest) = data.split_at_checked(size)?;
    *data = rest;
    Some(taken)
}

fn padded<'a>(data: &mut &'a [u8], size: u64) -> Option<&'a [u8]> {
    let size = usize::try_from(size).ok()?;
    let taken = take(data, size)?;
    // The last note of a section may come without its padding.
    let padding = (size.wrapping_neg() % 4).min(data.len());
    *data = &data[padding..];
    Some(taken)
}

fn integer(bytes: &[u8], little: bool) -> u64 {
    let join = |value, &byte: &u8| value << 8 | u64::from(byte);
    if little { bytes.iter().rev().fold(0, join) } else { bytes.iter().fold(0, join) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(kind: u32, owner: &[u8], description: &[u8]) -> Vec<u8> {
        let mut note = Vec::new();
        for word in [owner.len() as u32, description.len() as u32, kind] {
            note.extend(word.to_le_bytes());
        }
        for part in [owner, description] {
            note.extend(part);
            note.resize(note.len().next_multiple_of(4), 0);
        }
        note
    }

    fn probe(place: u64, base: u64, semaphore: u64, texts: &[u8]) -> Vec<u8> {
        let mut description = Vec::new();
        for address in [place, base, semaphore] {
            description.extend(address.to_le_bytes());
        }
        description.extend(texts);
        note(NOTE_TYPE, b"stapsdt\0", &description)
    }

    fn parsed(data: &[u8], base: Option<u64>) -> Vec<Usdt> {
        let mut usdts = Vec::new();
        parse(data, true, true, base, &mut usdts);
        usdts
    }

    #[test]
    fn probes_are_read_and_moved_with_their_base() {
        let mut data = probe(0x1000, 0x9000, 0xa000, b"postgresql\0query__start\08@%rdi\0");
        data.extend(note(7, b"stapsdt\0", b"other type"));
        data.extend(note(NOTE_TYPE, b"GNU\0", b"other owner"));
        data.extend(probe(0x2000, 0x9000, 0, b"postgresql\0query__done\0\0"));
        let usdts = parsed(&data, Some(0x9100));
        assert_eq!(usdts.len(), 2);
        assert_eq!((usdts[0].address, usdts[0].semaphore, usdts[0].base), (0x1100, Some(0xa100), 0x9000));
        assert_eq!((usdts[0].name.as_str(), usdts[0].args.as_str()), ("query__start", "8@%rdi"));
        assert_eq!((usdts[1].address, usdts[1].semaphore), (0x2100, None));
        assert_eq!(parsed(&data, None)[0].address, 0x1000);
    }

    #[test]
    fn cut_and_hostile_notes_do_not_panic() {
        let whole = probe(1, 2, 3, b"p\0n\0a\0");
        for end in 0..whole.len() {
            assert!(parsed(&whole[..end], Some(0)).len() <= 1);
        }
        assert!(parsed(&[0xff; 64], Some(0)).is_empty());
        let moved = parsed(&probe(u64::MAX, 0, u64::MAX, b"p\0n\0"), Some(u64::MAX));
        assert_eq!(moved[0].args, "");
    }
}
