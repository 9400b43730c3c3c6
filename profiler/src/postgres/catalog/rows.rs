//! Rows of the three catalogs that names are made of: pg_class, pg_namespace and pg_database.
//!
//! Only their first columns are read, which have fixed places, and each row must look like one: a name that ends and is
//! followed by zeros, a kind that exists. So pages of something else give nothing.

use pgstrobe_common::fields::{ABSENT, UserFields};

use super::page::u32_at;

/// `NAMEDATALEN` (src/include/pg_config_manual.h): size of a `name` column, its zeros included.
const NAME: usize = 64;

/// What is kept of a row of pg_class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    pub oid: u32,
    pub name: Box<str>,
    pub namespace: u32,
    /// 0 for what has no file, and for mapped catalogs.
    pub filenode: u32,
    /// 0 is that of the database.
    pub tablespace: u32,
    /// `relkind`.
    pub kind: u8,
    /// The relation it is to replace (VACUUM FULL, CLUSTER, ALTER TABLE), 0 for all others.
    pub rewrite: u32,
}

impl Class {
    pub fn parse(data: &[u8], fields: &UserFields) -> Option<Self> {
        let at = |offset: u32| if offset == ABSENT { None } else { u32_at(data, offset as usize) };
        let byte = |offset: u32| data.get(offset as usize).copied();
        let (oid, kind, namespace) = (u32_at(data, 0)?, byte(fields.class_kind)?, at(fields.class_namespace)?);
        // `RELPERSISTENCE_` and `RELKIND_` (src/include/catalog/pg_class.h).
        let exists = b"put".contains(&byte(fields.class_persistence)?) && b"rtiSvmcfpI".contains(&kind);
        (exists && oid != 0 && namespace != 0).then_some(())?;
        Some(Self {
            oid,
            name: name(data, fields.class_name)?,
            namespace,
            filenode: at(fields.class_filenode)?,
            tablespace: at(fields.class_tablespace)?,
            kind,
            rewrite: at(fields.class_rewrite)?,
        })
    }
}

/// OID and name of a row of pg_namespace or pg_database.
pub fn named(data: &[u8], name_at: u32) -> Option<(u32, Box<str>)> {
    let oid = u32_at(data, 0).filter(|oid| *oid != 0)?;
    Some((oid, name(data, name_at)?))
}

fn name(data: &[u8], at: u32) -> Option<Box<str>> {
    let bytes = data.get(at as usize..)?.get(..NAME)?;
    let end = bytes.iter().position(|byte| *byte == 0)?;
    let whole = end > 0 && bytes[end..].iter().all(|byte| *byte == 0);
    whole.then(|| String::from_utf8_lossy(&bytes[..end]).into())
}

#[cfg(test)]
pub mod made {
    use super::*;

    /// The columns of a row of pg_class, of 15.
    pub fn class(oid: u32, text: &str, namespace: u32, filenode: u32, kind: u8) -> Vec<u8> {
        let fields = crate::postgres::layout::for_major(15).unwrap().user;
        let mut data = named_row(oid, text);
        data.resize(160, 0);
        let mut put = |at: u32, value: u32| data[at as usize..at as usize + 4].copy_from_slice(&value.to_le_bytes());
        put(fields.class_namespace, namespace);
        put(fields.class_filenode, filenode);
        data[fields.class_persistence as usize] = b'p';
        data[fields.class_kind as usize] = kind;
        data
    }

    /// OID and name.
    pub fn named_row(oid: u32, text: &str) -> Vec<u8> {
        let mut data = oid.to_le_bytes().to_vec();
        data.extend(text.bytes());
        data.resize(4 + NAME, 0);
        data
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_must_look_like_one() {
        let fields = crate::postgres::layout::for_major(15).unwrap().user;
        let good = made::class(16384, "orders", 2200, 16390, b'r');
        let class = Class::parse(&good, &fields).unwrap();
        assert_eq!((class.oid, &*class.name, class.namespace, class.filenode), (16384, "orders", 2200, 16390));
        for (at, value) in [(0, 0), (fields.class_kind, b'x'), (fields.class_persistence, 0), (40, b'x'), (4, 0)] {
            let mut bad = good.clone();
            bad[at as usize..at as usize + 2].fill(value);
            assert_eq!(Class::parse(&bad, &fields), None, "{at}");
        }
        for length in 0..fields.class_rewrite as usize {
            assert_eq!(Class::parse(&good[..length], &fields), None);
        }
        assert_eq!(Class::parse(&good, &UserFields::UNRESOLVED), None);
        let row = made::named_row(2200, "public");
        assert_eq!(named(&row, 4).unwrap(), (2200, "public".into()));
        assert_eq!(named(&row[..60], 4), None);
        assert_eq!(named(&[1; 100], 4), None);
    }
}
