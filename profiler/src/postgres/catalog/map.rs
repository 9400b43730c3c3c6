//! `pg_filenode.map`: the file numbers of the catalogs that cannot be looked up in pg_class, which is one of them.
//!
//! The form is `RelMapFile` of src/backend/utils/cache/relmapper.c: a magic number, how many there are, the pairs, and a
//! CRC behind the room for 62 of them (64 from 16 on). A file of another size is read without its CRC.

use super::page::u32_at;

/// `RELMAPPER_FILEMAGIC`.
const MAGIC: u32 = 0x0059_2717;
/// Where the pairs begin, and the size of one.
const PAIRS: usize = 8;
const PAIR: usize = 8;
/// Size of the file and place of the CRC in it, where they are known.
const FORMS: [(usize, usize); 2] = [(512, 504), (524, 520)];
/// Largest map believed in, in bytes: the form has grown once.
pub const LARGEST: u64 = 8192;

/// Pairs of the OID of a catalog and the number of its file. None where it is no map, or a torn one.
pub fn parse(bytes: &[u8]) -> Option<Vec<(u32, u32)>> {
    if bytes.len() as u64 > LARGEST || u32_at(bytes, 0)? != MAGIC {
        return None;
    }
    let count = u32_at(bytes, 4)? as usize;
    let end = count.checked_mul(PAIR)?.checked_add(PAIRS)?;
    let pairs = bytes.get(PAIRS..end)?;
    if let Some((_, crc)) = FORMS.iter().find(|(size, _)| *size == bytes.len())
        && (end > *crc || u32_at(bytes, *crc)? != crc32c(bytes.get(..*crc)?))
    {
        return None;
    }
    let pairs = pairs.chunks_exact(PAIR).map(|pair| Some((u32_at(pair, 0)?, u32_at(pair, 4)?)));
    pairs.filter(|pair| pair.is_none_or(|(oid, file)| oid != 0 && file != 0)).collect()
}

/// CRC-32C (Castagnoli), bit by bit: a map is half a kilobyte.
fn crc32c(bytes: &[u8]) -> u32 {
    const REVERSED_POLYNOMIAL: u32 = 0x82f6_3b78;
    let step = |crc: u32| if crc & 1 == 0 { crc >> 1 } else { crc >> 1 ^ REVERSED_POLYNOMIAL };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)))
}

#[cfg(test)]
pub mod made {
    use super::*;

    /// A map with its CRC.
    pub fn map(pairs: &[(u32, u32)], size: usize, crc: usize) -> Vec<u8> {
        let mut bytes = vec![0; size];
        bytes[..4].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[4..8].copy_from_slice(&(pairs.len() as u32).to_le_bytes());
        for (i, (oid, file)) in pairs.iter().enumerate() {
            bytes[PAIRS + 8 * i..PAIRS + 8 * i + 4].copy_from_slice(&oid.to_le_bytes());
            bytes[PAIRS + 8 * i + 4..PAIRS + 8 * i + 8].copy_from_slice(&file.to_le_bytes());
        }
        let sum = crc32c(&bytes[..crc]);
        bytes[crc..crc + 4].copy_from_slice(&sum.to_le_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_of_both_forms() {
        // The check value of CRC-32C.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        let pairs = [(1259, 16400), (1249, 1249)];
        for (size, crc) in FORMS {
            let good = made::map(&pairs, size, crc);
            assert_eq!(parse(&good).as_deref(), Some(&pairs[..]));
            for at in [0, 4, 9, crc] {
                let mut torn = good.clone();
                torn[at] ^= 1;
                assert_eq!(parse(&torn), None, "{at}");
            }
            assert_eq!(parse(&good[..20]), None);
        }
        // A form to come: no CRC is known, the pairs are.
        assert_eq!(parse(&made::map(&pairs, 1024, 1016)).as_deref(), Some(&pairs[..]));
        let mut many = made::map(&pairs, 1024, 1016);
        many[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(parse(&many), None);
        assert_eq!(parse(&[]), None);
    }
}
