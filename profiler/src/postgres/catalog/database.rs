//! What is remembered of one database: its relations, their schemas, and every file that ever was one of theirs.
//!
//! A relation that is rewritten (TRUNCATE, VACUUM FULL, CLUSTER, REINDEX, ALTER TABLE) gets another file. The old one is
//! in no catalog any more, but what was read and written there was this relation: it keeps its name.

use std::collections::{BTreeMap, HashMap};

use super::{
    RelationKind, RelationName,
    page::{Row, Standing},
    rows::Class,
};

/// How a row stands, and its transaction.
type Weight = (Standing, u32);

/// What one look at a database found: of several versions of a row the best.
#[derive(Default)]
pub struct Sight {
    classes: HashMap<u32, (Class, Weight)>,
    /// OIDs by file number and tablespace.
    files: HashMap<(u32, u32), (u32, Weight)>,
    schemas: HashMap<u32, (Box<str>, Weight)>,
}

#[derive(Default)]
pub struct Memory {
    relations: BTreeMap<u32, Class>,
    /// OIDs by file number and tablespace.
    files: BTreeMap<(u32, u32), u32>,
    schemas: BTreeMap<u32, Box<str>>,
}

impl Sight {
    /// A row of pg_class; `default` is the tablespace of the database.
    pub fn class(&mut self, class: Class, row: &Row, default: u32) {
        let weight = (row.standing, row.xmin);
        if !has_file(class.kind) {
            return;
        }
        if class.filenode != 0 {
            let tablespace = if class.tablespace == 0 { default } else { class.tablespace };
            keep(&mut self.files, (class.filenode, tablespace), class.oid, weight);
        }
        keep(&mut self.classes, class.oid, class, weight);
    }

    pub fn schema(&mut self, (oid, name): (u32, Box<str>), row: &Row) {
        keep(&mut self.schemas, oid, name, (row.standing, row.xmin));
    }

    /// A catalog whose file is in the map.
    pub fn mapped(&mut self, tablespace: u32, oid: u32, filenode: u32) {
        keep(&mut self.files, (filenode, tablespace), oid, (Standing::Live, 0));
    }

    /// The file of a relation as this look found it, where pg_class has it.
    pub fn filenode(&self, oid: u32) -> Option<u32> {
        self.classes.get(&oid).map(|(class, _)| class.filenode).filter(|filenode| *filenode != 0)
    }
}

impl Memory {
    /// Takes over what a look found. What is whole replaces what was known; what is deleted or failed counts only where
    /// nothing was known. Gives the number of relations and files for which there was no room.
    pub fn take(&mut self, sight: Sight, room: usize) -> usize {
        let mut left_out = 0;
        for (oid, (class, weight)) in sight.classes {
            let full = self.relations.len() >= room;
            left_out += learn(&mut self.relations, oid, class, weight, full);
        }
        for (file, (oid, weight)) in sight.files {
            // Rewrites bring files for relations that are there.
            let full = self.files.len() >= room.saturating_mul(2);
            left_out += learn(&mut self.files, file, oid, weight, full);
        }
        for (oid, (name, weight)) in sight.schemas {
            let full = self.schemas.len() >= room;
            left_out += learn(&mut self.schemas, oid, name, weight, full);
        }
        left_out
    }

    /// What the server itself said of a file: its relation, and those that its name comes from.
    pub fn told(&mut self, tablespace: u32, filenode: u32, relations: Vec<(Class, Box<str>)>) {
        let Some((first, _)) = relations.first() else { return };
        self.files.insert((filenode, tablespace), first.oid);
        for (class, schema) in relations {
            self.schemas.insert(class.namespace, schema);
            self.relations.insert(class.oid, class);
        }
    }

    pub fn relations(&self) -> usize {
        self.relations.len()
    }

    /// The relation of a file; a tablespace of 0 is not known, and then only one relation may have a file of that number.
    pub fn oid(&self, tablespace: u32, filenode: u32) -> Option<u32> {
        if tablespace != 0 {
            return self.files.get(&(filenode, tablespace)).copied();
        }
        let mut found = self.files.range((filenode, 0)..=(filenode, u32::MAX)).map(|(_, oid)| *oid);
        let oid = found.next()?;
        found.all(|other| other == oid).then_some(oid)
    }

    pub fn name(&self, oid: u32, database: &str) -> Option<RelationName> {
        let class = self.original(oid)?;
        // A TOAST table is called after the OID of its owner, which is another one while that is rewritten
        // (src/backend/catalog/toasting.c, src/backend/commands/cluster.c).
        let owner = class.name.strip_prefix("pg_toast_").and_then(|rest| {
            let (digits, kind) = match (class.kind, rest.strip_suffix("_index")) {
                (b't', None) => (rest, RelationKind::Toast),
                (b'i', Some(digits)) => (digits, RelationKind::ToastIndex),
                _ => return None,
            };
            Some((self.original(digits.parse().ok()?)?, kind))
        });
        let (class, kind) = owner.unwrap_or((class, RelationKind::of(class.kind)));
        Some(RelationName {
            database: database.into(),
            schema: self.schemas.get(&class.namespace).map(|name| name.to_string()).unwrap_or_default(),
            relation: class.name.to_string(),
            kind,
        })
    }

    /// A relation, or the one it is made to replace.
    fn original(&self, oid: u32) -> Option<&Class> {
        let class = self.relations.get(&oid)?;
        Some(self.relations.get(&class.rewrite).unwrap_or(class))
    }
}

/// Keeps the better of two versions.
fn keep<K: std::hash::Hash + Eq, V>(map: &mut HashMap<K, (V, Weight)>, key: K, value: V, weight: Weight) {
    match map.get_mut(&key) {
        Some((_, known)) if !Row::beats(weight, *known) => {}
        Some(entry) => *entry = (value, weight),
        None => {
            map.insert(key, (value, weight));
        }
    }
}

/// 1 where there is no room for something new.
fn learn<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: V, weight: Weight, full: bool) -> usize {
    match map.get_mut(&key) {
        Some(known) => {
            if weight.0 == Standing::Live {
                *known = value;
            }
            0
        }
        None if full => 1,
        None => {
            map.insert(key, value);
            0
        }
    }
}

/// Views, partitioned tables and the like have none (`RELKIND_HAS_STORAGE`, src/include/catalog/pg_class.h).
fn has_file(kind: u8) -> bool {
    b"riSmt".contains(&kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(oid: u32, name: &str, filenode: u32, kind: u8) -> Class {
        Class { oid, name: name.into(), namespace: 2200, filenode, tablespace: 0, kind, rewrite: 0 }
    }

    fn take(memory: &mut Memory, rows: Vec<(Class, Standing, u32)>) -> usize {
        let mut sight = Sight::default();
        let whole = Row { data: &[], standing: Standing::Live, xmin: 0 };
        sight.schema((2200, "public".into()), &whole);
        for (class, standing, xmin) in rows {
            sight.class(class, &Row { data: &[], standing, xmin }, 1663);
        }
        memory.take(sight, 100)
    }

    fn shown(memory: &Memory, filenode: u32) -> Option<String> {
        memory.name(memory.oid(1663, filenode)?, "shop").map(|name| name.to_string())
    }

    use Standing::{Aborted, Deleted, Leaving, Live};

    #[test]
    fn a_rewritten_relation_keeps_its_name() {
        let mut memory = Memory::default();
        take(&mut memory, vec![(class(20, "orders", 20, b'r'), Live, 5)]);
        // TRUNCATE: the old row goes, in one look with the new one or in the next.
        take(&mut memory, vec![(class(20, "orders", 20, b'r'), Leaving, 5), (class(20, "orders", 31, b'r'), Live, 9)]);
        assert_eq!(shown(&memory, 20).as_deref(), Some("public.orders"));
        assert_eq!(shown(&memory, 31).as_deref(), Some("public.orders"));
        take(&mut memory, vec![(class(20, "orders", 31, b'r'), Live, 9)]);
        assert_eq!(shown(&memory, 20).as_deref(), Some("public.orders"));
        // A new name is that of all its files.
        take(&mut memory, vec![(class(20, "old_orders", 31, b'r'), Live, 12)]);
        assert_eq!(shown(&memory, 20).as_deref(), Some("public.old_orders"));
    }

    #[test]
    fn what_is_made_to_replace_a_relation_has_its_name() {
        let mut memory = Memory::default();
        let made = Class { rewrite: 20, ..class(40, "pg_temp_20", 40, b'r') };
        let toasts = [class(21, "pg_toast_20", 21, b't'), class(41, "pg_toast_40", 41, b't')];
        let index = class(42, "pg_toast_40_index", 42, b'i');
        let rows = [class(20, "Orders", 20, b'r'), made, index].into_iter().chain(toasts);
        take(&mut memory, rows.map(|class| (class, Live, 5)).collect());
        assert_eq!(shown(&memory, 40).as_deref(), Some("public.\"Orders\""));
        assert_eq!(shown(&memory, 41).as_deref(), Some("toast of public.\"Orders\""));
        assert_eq!(shown(&memory, 21).as_deref(), Some("toast of public.\"Orders\""));
        assert_eq!(shown(&memory, 42).as_deref(), Some("toast index of public.\"Orders\""));
    }

    #[test]
    fn what_failed_or_is_gone_counts_only_where_nothing_better_is_known() {
        let mut memory = Memory::default();
        take(&mut memory, vec![(class(20, "orders", 20, b'r'), Live, 5), (class(20, "wrong", 20, b'r'), Aborted, 9)]);
        assert_eq!(shown(&memory, 20).as_deref(), Some("public.orders"));
        // The number of a file that is gone is in use again.
        take(
            &mut memory,
            vec![(class(30, "gone", 20, b'r'), Deleted, 9), (class(50, "dropped", 50, b'r'), Deleted, 3)],
        );
        assert_eq!(shown(&memory, 20).as_deref(), Some("public.orders"));
        assert_eq!(shown(&memory, 50).as_deref(), Some("public.dropped"));
        take(&mut memory, vec![(class(60, "new", 20, b'r'), Live, 20), (class(70, "view", 70, b'v'), Live, 20)]);
        assert_eq!(shown(&memory, 20).as_deref(), Some("public.new"));
        assert_eq!(shown(&memory, 70), None);
    }

    #[test]
    fn a_tablespace_that_is_not_known() {
        let mut memory = Memory::default();
        let elsewhere = Class { tablespace: 17000, ..class(30, "far", 20, b'r') };
        take(&mut memory, vec![(class(20, "near", 20, b'r'), Live, 5), (class(25, "only", 25, b'r'), Live, 5)]);
        assert_eq!((memory.oid(0, 25), memory.oid(0, 20), memory.oid(17000, 20)), (Some(25), Some(20), None));
        take(&mut memory, vec![(elsewhere, Live, 5)]);
        assert_eq!((memory.oid(0, 20), memory.oid(17000, 20)), (None, Some(30)));
    }

    #[test]
    fn the_memory_is_bounded() {
        let mut memory = Memory::default();
        let many = (1..=300).map(|oid| (class(oid, "t", oid, b'r'), Live, 5)).collect();
        assert_eq!(take(&mut memory, many), 200 + 100);
        assert_eq!(memory.relations(), 100);
    }
}
