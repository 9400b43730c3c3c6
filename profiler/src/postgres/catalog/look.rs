//! One look at the catalogs: first the pages in the buffer pool, then those in the files that were not in the pool.

use std::{
    collections::{HashMap, HashSet},
    time::Instant,
};

use pgstrobe_common::fields::ABSENT;

use super::{
    Catalog, MOST_RELATIONS, PG_CLASS, PG_DATABASE, PG_NAMESPACE,
    buffers::{Pages, Whose},
    database::Sight,
    files::Place,
    page::{self, Row, Standing},
    rows::{self, Class},
};

impl Catalog {
    /// Reads the catalogs of these databases, in the buffer pool and in their files.
    pub(super) fn look(&mut self, databases: &[u32]) {
        if self.fields.class_kind == ABSENT {
            return;
        }
        let began = Instant::now();
        let global = self.directory.global();
        let global_map = global.map();
        self.unreadable = global_map.is_none();
        let global_map = global_map.unwrap_or_default();
        let places: Vec<(Place, Vec<(u32, u32)>)> = databases
            .iter()
            .filter_map(|oid| self.directory.place(*oid))
            .filter_map(|place| place.map().map(|map| (place, map)))
            .collect();
        let of = |place: &Place, filenode| Whose { tablespace: place.tablespace, database: place.database, filenode };
        let mut wanted = HashSet::new();
        wanted.extend(mapped(&global_map, PG_DATABASE).map(|file| of(&global, file)));
        for (place, map) in &places {
            let known = self.databases.get(&place.database).map_or(0, |database| database.namespaces);
            // Its number is that of the beginning until it is rewritten.
            let namespaces = if known == 0 { PG_NAMESPACE } else { known };
            wanted.extend([mapped(map, PG_CLASS), Some(namespaces)].into_iter().flatten().map(|file| of(place, file)));
        }
        let pages = self.pool.as_mut().map(|pool| pool.pages(&wanted)).unwrap_or_default();

        if let Some(file) = mapped(&global_map, PG_DATABASE) {
            let mut best: HashMap<u32, (Box<str>, (Standing, u32))> = HashMap::new();
            each_row(&global, file, &pages, |row| {
                let Some((oid, name)) = rows::named(row.data, self.fields.database_name) else { return };
                let weight = (row.standing, row.xmin);
                if best.get(&oid).is_none_or(|(_, known)| Row::beats(weight, *known)) {
                    best.insert(oid, (name, weight));
                }
            });
            self.names.extend(best.into_iter().map(|(oid, (name, _))| (oid, name)));
        }
        self.shared.extend(global_map.iter().map(|(oid, file)| (*file, *oid)));
        for (place, map) in &places {
            self.look_at(place, map, &pages);
        }
        self.spent += began.elapsed();
        for oid in databases {
            self.databases.entry(*oid).or_default().looked = Some(Instant::now());
        }
        tracing::debug!(
            "catalogs of {} databases: {} pages of the pool, {:?}",
            places.len(),
            pages.values().map(HashMap::len).sum::<usize>(),
            began.elapsed()
        );
    }

    fn look_at(&mut self, place: &Place, map: &[(u32, u32)], pages: &Pages) {
        let mut sight = Sight::default();
        let Some(classes) = mapped(map, PG_CLASS) else { return };
        each_row(place, classes, pages, |row| {
            if let Some(class) = Class::parse(row.data, &self.fields) {
                sight.class(class, &row, place.tablespace);
            }
        });
        let namespaces = sight.filenode(PG_NAMESPACE).unwrap_or(PG_NAMESPACE);
        each_row(place, namespaces, pages, |row| {
            if let Some(named) = rows::named(row.data, self.fields.namespace_name) {
                sight.schema(named, &row);
            }
        });
        for (oid, filenode) in map {
            sight.mapped(place.tablespace, *oid, *filenode);
        }
        let others: usize = self.databases.values().map(|database| database.memory.relations()).sum();
        let database = self.databases.entry(place.database).or_default();
        database.namespaces = namespaces;
        let room = MOST_RELATIONS.saturating_sub(others - database.memory.relations());
        self.left_out = self.left_out.max(database.memory.take(sight, room));
    }
}

/// The rows of a catalog: those of the pages in the pool, which are newer, and of the other pages in the file.
fn each_row(place: &Place, filenode: u32, pages: &Pages, mut each: impl FnMut(Row)) {
    let whose = Whose { tablespace: place.tablespace, database: place.database, filenode };
    let newer = pages.get(&whose);
    newer.into_iter().flat_map(HashMap::values).flat_map(|page| page::rows(page)).for_each(&mut each);
    place.pages(filenode, |number, page| {
        if newer.is_none_or(|newer| !newer.contains_key(&number)) {
            page::rows(page).for_each(&mut each);
        }
    });
}

/// The file of a mapped catalog.
pub fn mapped(map: &[(u32, u32)], oid: u32) -> Option<u32> {
    map.iter().find(|(known, _)| *known == oid).map(|(_, file)| *file)
}
