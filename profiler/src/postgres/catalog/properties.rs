//! Whatever the bytes of a page or of a map are, reading them ends, takes no more than is there, and does not panic.

use proptest::prelude::*;

use super::{
    database::{Memory, Sight},
    rows::Class,
    *,
};

proptest! {
    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..1200)) {
        let _ = map::parse(&bytes);
        prop_assert!(page::rows(&bytes).count() <= bytes.len() / 4);
        let fields = crate::postgres::layout::for_major(18).unwrap().user;
        let _ = (Class::parse(&bytes, &fields), rows::named(&bytes, 4), page::size(&bytes));
    }

    /// A page with a good header, and anything behind it.
    #[test]
    fn any_rows(seed in prop::collection::vec(any::<u8>(), 1..2000), lower in 0u16..1024, upper in 0u16..8192) {
        let mut bytes = page::made::page(&[]);
        for (byte, with) in bytes[page::HEADER..].iter_mut().zip(seed.iter().cycle()) {
            *byte = *with;
        }
        bytes[12..14].copy_from_slice(&lower.to_le_bytes());
        bytes[14..16].copy_from_slice(&upper.to_le_bytes());
        let fields = crate::postgres::layout::for_major(15).unwrap().user;
        for row in page::rows(&bytes) {
            prop_assert!(row.data.len() <= bytes.len());
            let _ = Class::parse(row.data, &fields);
        }
    }

    /// A good page in which some bytes are others.
    #[test]
    fn changed_pages(changes in prop::collection::vec((0usize..8192, any::<u8>()), 0..40)) {
        let rows: Vec<_> = (1..60).map(|oid| rows::made::class(oid, "relation", 2200, oid, b'r')).collect();
        let rows: Vec<_> = rows.iter().map(|row| (0x0900, 700, 0, &row[..])).collect();
        let mut bytes = page::made::page(&rows[..40]);
        for (at, value) in changes {
            bytes[at] = value;
        }
        let fields = crate::postgres::layout::for_major(15).unwrap().user;
        let mut sight = Sight::default();
        for row in page::rows(&bytes) {
            if let Some(class) = Class::parse(row.data, &fields) {
                sight.class(class, &row, 1663);
            }
        }
        let mut memory = Memory::default();
        memory.take(sight, 10);
        prop_assert!(memory.relations() <= 10);
    }
}
