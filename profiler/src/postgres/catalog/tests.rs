//! A data directory made by hand: mapped catalogs, schemas, tablespaces, and what is not there.

use std::{fs, os::unix::fs::symlink, path::Path};

use super::{
    database::Memory,
    map::made::map,
    page::made::page,
    rows::made::{class, named_row},
    *,
};

/// `xmin` is committed, `xmax` invalid (access/htup_details.h).
const WHOLE: u16 = 0x0900;

fn write(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn rows_of(rows: &[Vec<u8>]) -> Vec<u8> {
    page(&rows.iter().map(|row| (WHOLE, 700, 0, &row[..])).collect::<Vec<_>>())
}

fn database(path: &Path, relations: &[Vec<u8>]) {
    write(&path.join("pg_filenode.map"), &map(&[(PG_CLASS, 4001)], 512, 504));
    let mut all = vec![class(PG_NAMESPACE, "pg_namespace", 11, 4002, b'r'), class(PG_CLASS, "pg_class", 11, 0, b'r')];
    all.push(class(PG_DATABASE, "pg_database", 11, 0, b'r'));
    all.extend(relations.iter().cloned());
    write(&path.join("4001"), &rows_of(&all));
    let schemas = [(11, "pg_catalog"), (2200, "public"), (99, "pg_toast")];
    write(&path.join("4002"), &rows_of(&schemas.map(|(oid, name)| named_row(oid, name))));
}

fn catalog(data: &Path) -> Catalog {
    Catalog::new(Directory::at(data), Some(crate::postgres::layout::for_major(15).unwrap().user))
}

fn shown(catalog: &mut Catalog, database: u32, tablespace: u32, filenode: u32) -> Option<String> {
    catalog.name(database, tablespace, filenode).map(|name| format!("{}|{name}", name.database))
}

#[test]
fn names_from_files() {
    let dir = tempfile::tempdir().unwrap();
    let (data, far) = (dir.path().join("data"), dir.path().join("far"));
    write(&data.join("global/pg_filenode.map"), &map(&[(PG_DATABASE, 4060)], 524, 520));
    write(&data.join("global/4060"), &rows_of(&[named_row(1, "template1"), named_row(5, "shop"), named_row(7, "far")]));
    database(&data.join("base/1"), &[]);
    database(
        &data.join("base/5"),
        &[class(16384, "orders", 2200, 16390, b'r'), class(16385, "lost", 4711, 16391, b'i')],
    );
    database(&far.join("PG_15_202209061/7"), &[class(16384, "t", 2200, 16390, b'r')]);
    fs::create_dir_all(data.join("pg_tblspc")).unwrap();
    symlink(&far, data.join("pg_tblspc/17000")).unwrap();

    let mut catalog = catalog(&data);
    assert_eq!(catalog.directory.databases(), [1, 5, 7]);
    assert_eq!(shown(&mut catalog, 5, 1663, 16390).as_deref(), Some("shop|public.orders"));
    assert_eq!(shown(&mut catalog, 5, 0, 16390).as_deref(), Some("shop|public.orders"));
    // Its schema is in no page.
    assert_eq!(shown(&mut catalog, 5, 1663, 16391).as_deref(), Some("shop|lost"));
    assert_eq!(shown(&mut catalog, 5, 1663, 4001).as_deref(), Some("shop|pg_catalog.pg_class"));
    assert_eq!(shown(&mut catalog, 7, 17000, 16390).as_deref(), Some("far|public.t"));
    assert_eq!(shown(&mut catalog, 7, 1663, 16390), None);
    assert_eq!(shown(&mut catalog, 0, 1664, 4060).as_deref(), Some("|pg_catalog.pg_database"));
    for (database, tablespace, filenode) in [(5, 1663, 1), (6, 1663, 16390), (0, 1664, 1), (5, 1663, 0)] {
        assert_eq!(shown(&mut catalog, database, tablespace, filenode), None);
    }

    // The next look is due in a second; a file that is new by then has its name.
    database(&data.join("base/5"), &[class(16384, "orders", 2200, 16500, b'r')]);
    assert_eq!(shown(&mut catalog, 5, 1663, 16500), None);
    catalog.hurry();
    assert_eq!(shown(&mut catalog, 5, 1663, 16500).as_deref(), Some("shop|public.orders"));
    assert_eq!(shown(&mut catalog, 5, 1663, 16390).as_deref(), Some("shop|public.orders"));
    assert_eq!(shown(&mut catalog, 5, 1663, 16391).as_deref(), Some("shop|lost"));
}

#[test]
fn without_a_server_or_a_layout_there_are_no_names() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(shown(&mut catalog(dir.path()), 5, 1663, 16390), None);
    assert_eq!(shown(&mut catalog(dir.path()), 0, 1664, 1262), None);
    database(&dir.path().join("base/5"), &[]);
    assert_eq!(shown(&mut Catalog::new(Directory::at(dir.path()), None), 5, 1663, 4001), None);
    assert_eq!(Memory::default().relations(), 0);
}
