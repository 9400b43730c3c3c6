//! Layouts against a synthetic memory of one backend.

use std::collections::BTreeMap;

use pgstrobe_common::fields::{Field, PG_FIELDS};

use super::*;

const STATUS: u64 = 0x7f00_0000_1000;
const PROC: u64 = 0x7f00_0010_0000;
const PORT: u64 = 0x5500_0000_2000;
const APPNAME: u64 = 0x7f00_0020_0000;
const ACTIVITY: u64 = 0x7f00_0030_0000;
const DATABASE: u64 = 0x5500_0000_3000;
const USER: u64 = 0x5500_0000_3100;

/// Pages by their address.
#[derive(Clone)]
struct Memory(BTreeMap<u64, Vec<u8>>);

impl Memory {
    /// A client backend of process 4711 as the layout says.
    fn of(layout: &Layout) -> Self {
        let mut memory = Self(BTreeMap::new());
        for page in [STATUS, PROC, PORT, APPNAME, ACTIVITY, DATABASE] {
            memory.0.insert(page, vec![0; PAGE as usize]);
        }
        let fields = &layout.fields;
        memory.put(STATUS, fields.status_pid, &4711u32.to_le_bytes());
        memory.put(STATUS, fields.status_state, &layout.state_running.to_le_bytes());
        memory.put(STATUS, fields.status_appname, &APPNAME.to_le_bytes());
        memory.put(STATUS, fields.status_activity, &ACTIVITY.to_le_bytes());
        memory.put(PROC, fields.proc_pid, &4711u32.to_le_bytes());
        memory.put(PROC, fields.proc_wait_event, &0x0600_0000u32.to_le_bytes());
        memory.put(PORT, fields.port_database_name, &DATABASE.to_le_bytes());
        memory.put(PORT, fields.port_user_name, &USER.to_le_bytes());
        memory.put(APPNAME, 0, b"psql");
        memory.put(ACTIVITY, 0, b"select 1");
        memory.put(DATABASE, 0, b"shop");
        memory.put(USER, 0, b"clerk");
        memory
    }

    fn put(&mut self, base: u64, offset: u32, bytes: &[u8]) {
        let address = base + u64::from(offset);
        let page = self.0.get_mut(&(address / PAGE * PAGE)).expect("a mapped page");
        let at = (address % PAGE) as usize;
        page[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn read(&self, address: u64, buffer: &mut [u8]) -> bool {
        let at = (address % PAGE) as usize;
        let page = self.0.get(&(address / PAGE * PAGE));
        let Some(bytes) = page.and_then(|page| page.get(at..at + buffer.len())) else { return false };
        buffer.copy_from_slice(bytes);
        true
    }
}

fn client() -> LiveBackend<'static> {
    LiveBackend {
        pid: 4711,
        my_be_entry: STATUS,
        my_proc: PROC,
        my_proc_port: PORT,
        is_client: true,
        database: Some("shop"),
        user: Some("clerk"),
    }
}

fn verified(layout: &Layout, memory: &Memory, backend: &LiveBackend) -> Verified {
    verify(layout, backend, &|address, buffer| memory.read(address, buffer))
}

/// The layout's fields without those that `refused` picks.
fn without(layout: &Layout, refused: impl Fn(&Field) -> bool) -> PgFields {
    PgFields::resolve(|field| {
        let entry = CHECKS.iter().find(|entry| entry.name == field.name)?;
        Some((entry.offset)(&layout.fields)).filter(|offset| *offset != ABSENT && !refused(field))
    })
}

#[test]
fn every_field_of_the_table_has_a_check() {
    let names: Vec<&str> = CHECKS.iter().map(|entry| entry.name).collect();
    assert_eq!(names, PG_FIELDS.iter().map(|field| field.name).collect::<Vec<_>>());
}

#[test]
fn tables_are_consistent() {
    for major in 13..=18 {
        let layout = for_major(major).unwrap();
        assert_eq!(layout.major, major);
        assert!(layout.fields.status_state < layout.status_size);
        assert_eq!(layout.state_starting.is_some(), major >= 18);
        assert_eq!(layout.fields.status_query_id == ABSENT, major < 14, "st_query_id is new in 14");
    }
    assert_eq!(for_major(12), None);
    assert_eq!(for_major(19), None);
}

#[test]
fn a_backend_as_the_layout_says_confirms_every_field() {
    for major in 13..=18 {
        let layout = for_major(major).unwrap();
        let result = verified(layout, &Memory::of(layout), &client());
        assert_eq!(result, Verified { fields: layout.fields, reasons: vec![] });
    }
}

#[test]
fn another_pid_refuses_the_whole_struct() {
    let layout = for_major(15).unwrap();
    let mut memory = Memory::of(layout);
    memory.put(STATUS, layout.fields.status_pid, &1u32.to_le_bytes());
    let result = verified(layout, &memory, &client());
    assert_eq!(result.fields, without(layout, |field| field.of == "PgBackendStatus"));
    assert_eq!(result.reasons.len(), 6);
    assert!(result.reasons[0].contains("belongs to process 1"), "{:?}", result.reasons);

    let mut memory = Memory::of(layout);
    memory.put(PROC, layout.fields.proc_pid, &1u32.to_le_bytes());
    assert_eq!(verified(layout, &memory, &client()).fields, without(layout, |field| field.of == "PGPROC"));
}

#[test]
fn a_wrong_value_refuses_its_field_only() {
    let layout = for_major(17).unwrap();
    let fields = &layout.fields;
    let outside = 0x7f00_0099_0000u64.to_le_bytes();
    let cases: &[(&str, u64, u32, &[u8])] = &[
        ("status_state", STATUS, fields.status_state, &99u32.to_le_bytes()),
        ("status_appname", STATUS, fields.status_appname, &outside),
        ("status_appname", APPNAME, 0, &[b'x'; 64]),
        ("status_appname", APPNAME, 0, b"\xff\x01"),
        ("status_activity", STATUS, fields.status_activity, &[0; 8]),
        ("status_activity", STATUS, fields.status_activity, &outside),
        ("status_ssl", STATUS, fields.status_ssl, &[2]),
        ("proc_wait_event", PROC, fields.proc_wait_event, &0x7f00_0000u32.to_le_bytes()),
        ("port_database_name", DATABASE, 0, b"other"),
        ("port_user_name", PORT, fields.port_user_name, &outside),
    ];
    for (name, base, offset, bytes) in cases {
        let mut memory = Memory::of(layout);
        memory.put(*base, *offset, bytes);
        let result = verified(layout, &memory, &client());
        assert_eq!(result.fields, without(layout, |field| field.name == *name), "{name}: {:?}", result.reasons);
        assert_eq!(result.reasons.len(), 1, "{name}");
    }
}

#[test]
fn a_text_may_cross_pages_but_must_end() {
    let layout = for_major(15).unwrap();
    let mut memory = Memory::of(layout);
    for page in 0..ACTIVITY_MAX as u64 / PAGE {
        memory.0.insert(ACTIVITY + page * PAGE, vec![b'x'; PAGE as usize]);
    }
    let refused = verified(layout, &memory, &client());
    assert_eq!(refused.fields, without(layout, |field| field.name == "status_activity"));
    memory.put(ACTIVITY + ACTIVITY_MAX as u64 - 1, 0, &[0]);
    assert_eq!(verified(layout, &memory, &client()).fields, layout.fields);
}

#[test]
fn what_no_backend_can_confirm_is_not_used() {
    let layout = for_major(15).unwrap();
    let memory = Memory::of(layout);
    let checkpointer = LiveBackend { is_client: false, database: None, user: None, ..client() };
    let client_only = |field: &Field| field.of == "Port";
    let alone = verified(layout, &memory, &checkpointer);
    assert_eq!(alone.fields, without(layout, client_only));
    assert_eq!(alone.reasons, [""; 0], "nothing speaks against them");

    let read: Read = &|address, buffer| memory.read(address, buffer);
    assert_eq!(verify_all(layout, &[(checkpointer, read), (client(), read)]).fields, layout.fields);
    assert_eq!(verify_all(layout, &[]).fields, PgFields::UNRESOLVED);
    let unknown = LiveBackend { my_be_entry: 0, ..client() };
    assert_eq!(verified(layout, &memory, &unknown).fields, without(layout, |field| field.of == "PgBackendStatus"));
}

#[test]
fn one_bad_backend_refuses_the_field_for_all() {
    let layout = for_major(18).unwrap();
    let good = Memory::of(layout);
    let mut bad = good.clone();
    bad.put(STATUS, layout.fields.status_state, &8u32.to_le_bytes());
    let reads: [Read; 2] = [&|at, buffer| good.read(at, buffer), &|at, buffer| bad.read(at, buffer)];
    let result = verify_all(layout, &[(client(), reads[0]), (client(), reads[1])]);
    assert_eq!(result.fields, without(layout, |field| field.name == "status_state"));
}

#[test]
fn the_layout_of_another_version_is_refused_where_it_differs() {
    // 17 moved PGPROC.pid: with the layout of 15 nothing of PGPROC is believed.
    let memory = Memory::of(for_major(17).unwrap());
    let layout = for_major(15).unwrap();
    let result = verified(layout, &memory, &client());
    assert_eq!((result.fields.proc_pid, result.fields.proc_wait_event), (ABSENT, ABSENT));
    assert_eq!(result.fields.port_database_name, ABSENT);
}
