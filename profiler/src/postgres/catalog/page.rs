//! Rows of a heap page, as it lies in a file or in a buffer: the bytes of each row, and how far it can be believed.
//!
//! Nobody holds the page still, and a file may be anything: what does not look like a page, or like a row in it, is left
//! out. The form of a page is the same since 8.3 (`PG_PAGE_LAYOUT_VERSION` 4, src/include/storage/bufpage.h, itemid.h and
//! access/htup_details.h).

/// `PG_PAGE_LAYOUT_VERSION`.
const LAYOUT_VERSION: u16 = 4;
/// `SizeOfPageHeaderData`, and where its fields are.
pub const HEADER: usize = 24;
const LOWER: usize = 12;
const UPPER: usize = 14;
const SPECIAL: usize = 16;
const SIZE_AND_VERSION: usize = 18;
/// Size of an `ItemIdData`, and the state of one that leads to a row (`LP_NORMAL`).
const ITEM: usize = 4;
const NORMAL: u32 = 1;
/// `HeapTupleHeaderData`: its fields and its least size.
const XMIN: usize = 0;
const XMAX: usize = 4;
const INFOMASK: usize = 20;
const HOFF: usize = 22;
const ROW_HEADER: usize = 23;
/// Bits of `t_infomask`.
const XMAX_LOCK_ONLY: u16 = 0x0080;
const XMIN_COMMITTED: u16 = 0x0100;
const XMIN_INVALID: u16 = 0x0200;
const XMAX_COMMITTED: u16 = 0x0400;
const XMAX_INVALID: u16 = 0x0800;
const FROZEN: u16 = XMIN_COMMITTED | XMIN_INVALID;

/// What the row's own header says of it: the better one is the greater one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Its transaction failed.
    Aborted,
    /// It was deleted, or replaced by another version.
    Deleted,
    /// A transaction deleted or replaced it, and whether that came to an end is not noted yet.
    Leaving,
    /// Whole, as far as is noted; its transaction may still be at work.
    Live,
}

#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// The columns, without the header.
    pub data: &'a [u8],
    pub standing: Standing,
    /// The transaction that wrote it; 0 where that is so long ago that it does not matter.
    pub xmin: u32,
}

impl Row<'_> {
    /// What says which of two versions counts: how good it is, then which one came later. Transaction numbers go round:
    /// of two, the later one is less than half of them ahead.
    pub fn beats(standing: (Standing, u32), other: (Standing, u32)) -> bool {
        let later = match (standing.1, other.1) {
            (0, _) => false,
            (_, 0) => true,
            (one, two) => (one.wrapping_sub(two) as i32) > 0,
        };
        standing.0 > other.0 || standing.0 == other.0 && later
    }
}

/// Size of the pages, from the header of one; None where it is none.
pub fn size(header: &[u8]) -> Option<usize> {
    let word = u16_at(header, SIZE_AND_VERSION)?;
    // A power of two of 1 to 32 KiB (`BLCKSZ`), of which the low byte is 0.
    let size = usize::from(word & 0xff00);
    (word & 0xff == LAYOUT_VERSION && size.is_power_of_two() && (1024..=32768).contains(&size)).then_some(size)
}

/// The rows of a page; none where it is none, or empty.
pub fn rows(page: &[u8]) -> impl Iterator<Item = Row<'_>> {
    let items = extent(page).unwrap_or(HEADER..HEADER);
    let least = items.end;
    page.get(items).unwrap_or_default().chunks_exact(ITEM).filter_map(move |item| row(page, item, least))
}

/// Where the item identifiers are.
fn extent(page: &[u8]) -> Option<std::ops::Range<usize>> {
    let at = |at| u16_at(page, at).map(usize::from);
    let (lower, upper, special) = (at(LOWER)?, at(UPPER)?, at(SPECIAL)?);
    let fits = HEADER <= lower && lower <= upper && upper <= special && special <= page.len();
    (size(page)? == page.len() && fits).then_some(HEADER..lower)
}

fn row<'a>(page: &'a [u8], item: &[u8], least: usize) -> Option<Row<'a>> {
    let item = u32_at(item, 0)?;
    let (at, state, length) = ((item & 0x7fff) as usize, item >> 15 & 3, (item >> 17) as usize);
    if state != NORMAL || at < least {
        return None;
    }
    let bytes = page.get(at..at + length)?;
    let header = usize::from(*bytes.get(HOFF)?);
    if header < ROW_HEADER {
        return None;
    }
    let (mask, xmin) = (u16_at(bytes, INFOMASK)?, u32_at(bytes, XMIN)?);
    let standing = if mask & FROZEN == XMIN_INVALID {
        Standing::Aborted
    } else if u32_at(bytes, XMAX)? == 0 || mask & (XMAX_INVALID | XMAX_LOCK_ONLY) != 0 {
        Standing::Live
    } else if mask & XMAX_COMMITTED != 0 {
        Standing::Deleted
    } else {
        Standing::Leaving
    };
    let xmin = if mask & FROZEN == FROZEN { 0 } else { xmin };
    Some(Row { data: bytes.get(header..)?, standing, xmin })
}

pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_le_bytes(*bytes))
}

pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

#[cfg(test)]
pub mod made {
    //! Pages made by hand.

    use super::*;

    /// A row: mask, xmin, xmax, columns.
    pub type Made<'a> = (u16, u32, u32, &'a [u8]);

    pub fn page(rows: &[Made]) -> Vec<u8> {
        let mut page = vec![0; 8192];
        let mut upper = page.len();
        for (i, (mask, xmin, xmax, data)) in rows.iter().enumerate() {
            // A header of 24 bytes, as without nulls.
            let length = 24 + data.len();
            upper -= length.next_multiple_of(8);
            page[upper..upper + 4].copy_from_slice(&xmin.to_le_bytes());
            page[upper + 4..upper + 8].copy_from_slice(&xmax.to_le_bytes());
            page[upper + INFOMASK..upper + INFOMASK + 2].copy_from_slice(&mask.to_le_bytes());
            page[upper + HOFF] = 24;
            page[upper + 24..upper + length].copy_from_slice(data);
            let item = upper as u32 | NORMAL << 15 | (length as u32) << 17;
            page[HEADER + 4 * i..HEADER + 4 * i + 4].copy_from_slice(&item.to_le_bytes());
        }
        for (at, value) in [(LOWER, HEADER + 4 * rows.len()), (UPPER, upper), (SPECIAL, 8192), (SIZE_AND_VERSION, 8196)]
        {
            page[at..at + 2].copy_from_slice(&(value as u16).to_le_bytes());
        }
        page
    }
}

#[cfg(test)]
mod tests {
    use super::{made::page, *};

    #[test]
    fn rows_with_their_standing() {
        let page = page(&[
            (XMIN_COMMITTED | XMAX_INVALID, 700, 0, b"whole"),
            (0, 701, 0, b"new"),
            (XMIN_COMMITTED, 700, 701, b"leaving"),
            (XMIN_COMMITTED | XMAX_COMMITTED, 699, 700, b"gone"),
            (XMIN_COMMITTED | XMAX_LOCK_ONLY, 699, 701, b"locked"),
            (XMIN_INVALID | XMAX_INVALID, 702, 0, b"failed"),
            (FROZEN | XMAX_INVALID, 3, 0, b"old"),
        ]);
        assert_eq!(size(&page), Some(8192));
        let seen: Vec<_> = rows(&page).map(|row| (row.data, row.standing, row.xmin)).collect();
        assert_eq!(
            seen,
            [
                (&b"whole"[..], Standing::Live, 700),
                (b"new", Standing::Live, 701),
                (b"leaving", Standing::Leaving, 700),
                (b"gone", Standing::Deleted, 699),
                (b"locked", Standing::Live, 699),
                (b"failed", Standing::Aborted, 702),
                (b"old", Standing::Live, 0),
            ]
        );
    }

    #[test]
    fn the_later_version_counts() {
        use Standing::{Deleted, Leaving, Live};
        assert!(Row::beats((Live, 5), (Leaving, 9)));
        assert!(!Row::beats((Deleted, 9), (Live, 5)));
        assert!(Row::beats((Live, 9), (Live, 5)) && !Row::beats((Live, 5), (Live, 5)));
        // Past the end of the numbers.
        assert!(Row::beats((Live, 5), (Live, u32::MAX - 5)));
        assert!(Row::beats((Live, 5), (Live, 0)) && !Row::beats((Live, 0), (Live, 5)));
    }

    #[test]
    fn what_is_no_page_has_no_rows() {
        let good = page(&[(XMIN_COMMITTED, 1, 0, b"row")]);
        assert_eq!(rows(&good).count(), 1);
        assert_eq!(rows(&good[..8000]).count(), 0);
        assert_eq!(rows(&[]).count(), 0);
        assert_eq!(rows(&[0; 8192]).count(), 0);
        assert_eq!(rows(&[0xff; 8192]).count(), 0);
        // The lower end above the upper one.
        let mut bad = good.clone();
        bad[UPPER..UPPER + 2].copy_from_slice(&20u16.to_le_bytes());
        assert_eq!(rows(&bad).count(), 0);
        // A row that lies beyond the page, or over the item identifiers.
        for item in [8191u32 | NORMAL << 15 | 40 << 17, 24 | NORMAL << 15 | 40 << 17] {
            let mut bad = good.clone();
            bad[HEADER..HEADER + 4].copy_from_slice(&item.to_le_bytes());
            assert_eq!(rows(&bad).count(), 0);
        }
    }
}
