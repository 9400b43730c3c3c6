//! Where the fields are that pgstrobe reads in a server's memory, and the proof of it on the running server.
//!
//! The offsets of each major version come out of its headers (`cargo xtask codegen`). A server may still be built from
//! changed sources, so that no offset is used before [`verify_all`] saw it give what it must in live backends. What
//! fails, or could not be checked, becomes `ABSENT`: no number is better than a wrong one.

use pgstrobe_common::fields::{ABSENT, PgFields, UserFields};

use super::wait_event;

mod tables;
#[cfg(test)]
mod tests;

/// What a major version's headers say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    pub major: u32,
    pub fields: PgFields,
    /// What only userspace reads; proven at each use.
    pub user: UserFields,
    /// Size of `PgBackendStatus`.
    pub status_size: u32,
    /// Size of `BufferDescPadded`, the stride of the buffer descriptors.
    pub buffer_size: u32,
    /// Values of `BackendState`.
    pub state_undefined: u32,
    /// 18 and later.
    pub state_starting: Option<u32>,
    pub state_idle: u32,
    pub state_running: u32,
    pub state_idle_in_transaction: u32,
    pub state_fastpath: u32,
    pub state_idle_in_transaction_aborted: u32,
    pub state_disabled: u32,
    /// Values of `BackendType`.
    pub backend_type_client: u32,
    pub backend_type_walsender: u32,
    /// Sizes of `PgAioBackend` and `PgAioHandle`, a state of the latter, and values of `io_method`: 18 and later.
    pub aio_backend_size: Option<u32>,
    pub aio_handle_size: Option<u32>,
    pub aio_submitted: Option<u32>,
    pub aio_worker: Option<u32>,
    pub aio_uring: Option<u32>,
}

/// The layout of a major version, 13 to 18.
pub fn for_major(major: u32) -> Option<&'static Layout> {
    const ALL: [&Layout; 6] = [&tables::V13, &tables::V14, &tables::V15, &tables::V16, &tables::V17, &tables::V18];
    ALL.into_iter().find(|layout| layout.major == major)
}

/// A backend past its start-up, to check a layout against.
#[derive(Clone, Copy, Debug)]
pub struct LiveBackend<'a> {
    /// As the server sees it (in its own pid namespace).
    pub pid: u32,
    /// Values of `MyBEEntry`, `MyProc` and `MyProcPort` in this process, 0 when unknown.
    pub my_be_entry: u64,
    pub my_proc: u64,
    pub my_proc_port: u64,
    pub is_client: bool,
    /// What the process title says, where it can be told apart.
    pub database: Option<&'a str>,
    pub user: Option<&'a str>,
}

/// Fills the buffer from an address of one process; false when that cannot be done in full.
pub type Read<'a> = &'a dyn Fn(u64, &mut [u8]) -> bool;

/// What a check allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The offsets that hold; all others are `ABSENT`.
    pub fields: PgFields,
    /// Why a field is refused, for people.
    pub reasons: Vec<String>,
}

/// Longest activity string: the upper limit of track_activity_query_size (src/backend/utils/misc/guc_tables.c; guc.c).
const ACTIVITY_MAX: usize = 1 << 20;
/// NAMEDATALEN (src/include/pg_config_manual.h): length of an application, database or user name with its zero.
const NAME_MAX: usize = 64;
/// Memory is read up to the end of a page at a time, since the next may not be mapped.
const PAGE: u64 = 4096;
/// User addresses end below this on x86-64 (5-level paging) and aarch64 (52 bits).
const ADDRESS_END: u64 = 1 << 56;

/// Checks a layout against one backend.
pub fn verify(layout: &Layout, backend: &LiveBackend, read: Read) -> Verified {
    verify_all(layout, &[(*backend, read)])
}

/// Checks a layout against several backends: a field that fails on any of them is refused, and so is a field that none
/// of them could confirm.
pub fn verify_all(layout: &Layout, backends: &[(LiveBackend, Read)]) -> Verified {
    let mut reasons = Vec::new();
    let fields = PgFields::resolve(|field| {
        let Some(entry) = CHECKS.iter().find(|entry| entry.name == field.name) else {
            reasons.push(format!("{}.{} is not used: nothing checks it", field.of, field.paths[0]));
            return None;
        };
        let offset = (entry.offset)(&layout.fields);
        if offset == ABSENT {
            return None;
        }
        let mut confirmed = false;
        for (backend, read) in backends {
            let live = Live { layout, backend, read };
            match live.check(entry, offset) {
                Ok(holds) => confirmed |= holds,
                Err(reason) => {
                    let (of, path, pid) = (field.of, field.paths[0], backend.pid);
                    reasons.push(format!("{of}.{path} is not at {offset}: in process {pid} {reason}"));
                    return None;
                }
            }
        }
        // Without a client there is nothing to be said against it, and nothing is lost: titles have the names too.
        let no_client = matches!(entry.of, Of::Port) && !backends.iter().any(|(backend, _)| backend.is_client);
        if !confirmed && !no_client {
            reasons.push(format!("{}.{} is not used: no backend could confirm it", field.of, field.paths[0]));
        }
        confirmed.then_some(offset)
    });
    Verified { fields, reasons }
}

/// Whether the field was confirmed; false where this backend cannot tell; a reason where it is wrong.
type Outcome = Result<bool, String>;

/// How one entry of the offset table is checked.
struct Entry {
    name: &'static str,
    offset: fn(&PgFields) -> u32,
    of: Of,
    check: fn(&Live, u64) -> Outcome,
}

#[derive(Clone, Copy)]
enum Of {
    Status,
    Proc,
    Port,
}

macro_rules! checks {
    ($($name:ident: $of:ident, $check:ident;)+) => {
        const CHECKS: &[Entry] = &[$(Entry {
            name: stringify!($name),
            offset: |fields| fields.$name,
            of: Of::$of,
            check: |live, at| live.$check(at),
        },)+];
    };
}

checks! {
    status_state: Status, state;
    status_pid: Status, pid;
    status_appname: Status, application_name;
    status_activity: Status, activity;
    status_query_id: Status, query_id;
    status_ssl: Status, boolean;
    proc_wait_event: Proc, wait_event;
    proc_pid: Proc, pid;
    port_database_name: Port, database_name;
    port_user_name: Port, user_name;
}

/// One backend under the checks.
struct Live<'a> {
    layout: &'a Layout,
    backend: &'a LiveBackend<'a>,
    read: Read<'a>,
}

impl Live<'_> {
    /// A struct counts only where it names the process it belongs to.
    fn check(&self, entry: &Entry, offset: u32) -> Outcome {
        let fields = &self.layout.fields;
        let (base, pid) = match entry.of {
            Of::Status => (self.backend.my_be_entry, Some(fields.status_pid)),
            Of::Proc => (self.backend.my_proc, Some(fields.proc_pid)),
            Of::Port => (self.backend.my_proc_port, None),
        };
        if base == 0 || (matches!(entry.of, Of::Port) && !self.backend.is_client) {
            return Ok(false);
        }
        if !is_address(base) || base % 4 != 0 {
            return Err(format!("the struct cannot be at {base:#x}"));
        }
        if matches!(entry.of, Of::Status) && offset >= self.layout.status_size {
            return Err("it lies outside the struct".into());
        }
        if let Some(pid) = pid {
            self.pid(base + u64::from(pid))?;
        }
        (entry.check)(self, base + u64::from(offset))
    }

    fn pid(&self, at: u64) -> Outcome {
        match self.u32(at)? {
            pid if pid == self.backend.pid => Ok(true),
            other => Err(format!("the struct says it belongs to process {other}")),
        }
    }

    fn state(&self, at: u64) -> Outcome {
        let (layout, state) = (self.layout, self.u32(at)?);
        match (layout.state_undefined..=layout.state_disabled).contains(&state) {
            true => Ok(true),
            false => Err(format!("{state} is not a state")),
        }
    }

    /// The server keeps it in printable ASCII (`check_application_name`, src/backend/commands/variable.c; guc.c).
    fn application_name(&self, at: u64) -> Outcome {
        let name = self.text(at, NAME_MAX)?;
        match name.iter().all(|byte| (0x20..=0x7E).contains(byte)) {
            true => Ok(true),
            false => Err("the text is not an application name".into()),
        }
    }

    fn activity(&self, at: u64) -> Outcome {
        self.text(at, ACTIVITY_MAX).map(|_| true)
    }

    /// Any 64 bits can be a query id: the struct around it and its alignment are all there is to check.
    fn query_id(&self, at: u64) -> Outcome {
        match at.is_multiple_of(8) && (self.read)(at, &mut [0; 8]) {
            true => Ok(true),
            false => Err(format!("no aligned word can be read at {at:#x}")),
        }
    }

    fn boolean(&self, at: u64) -> Outcome {
        let mut byte = [0];
        match ((self.read)(at, &mut byte), byte[0]) {
            (true, 0 | 1) => Ok(true),
            (true, other) => Err(format!("{other} is not a truth value")),
            (false, _) => Err(format!("nothing can be read at {at:#x}")),
        }
    }

    fn wait_event(&self, at: u64) -> Outcome {
        let word = self.u32(at)?;
        match wait_event::is_plausible(self.layout.major, word) {
            true => Ok(true),
            false => Err(format!("{word:#010x} is not a wait event")),
        }
    }

    fn database_name(&self, at: u64) -> Outcome {
        self.name(at, self.backend.database)
    }

    fn user_name(&self, at: u64) -> Outcome {
        self.name(at, self.backend.user)
    }

    /// A name; the one of the process title, where that is known.
    fn name(&self, at: u64, title: Option<&str>) -> Outcome {
        let name = self.text(at, NAME_MAX)?;
        match title {
            Some(title) if title.as_bytes() != name => Err("the name is not that of the process title".into()),
            None if name.is_empty() => Err("the name is empty".into()),
            _ => Ok(true),
        }
    }

    /// The text behind a pointer, without its terminating zero, which must come within `max` bytes.
    fn text(&self, at: u64, max: usize) -> Result<Vec<u8>, String> {
        let mut pointer = [0; 8];
        if !(self.read)(at, &mut pointer) {
            return Err(format!("nothing can be read at {at:#x}"));
        }
        let start = u64::from_le_bytes(pointer);
        if !is_address(start) {
            return Err(format!("{start:#x} is not a pointer"));
        }
        let mut text: Vec<u8> = Vec::new();
        while text.len() < max {
            let from = start + text.len() as u64;
            // No more than the rest of the page.
            let mut part = vec![0; ((PAGE - from % PAGE) as usize).min(max - text.len())];
            if !(self.read)(from, &mut part) {
                return Err(format!("no text can be read at {from:#x}"));
            }
            let end = part.iter().position(|byte| *byte == 0);
            text.extend_from_slice(&part[..end.unwrap_or(part.len())]);
            if end.is_some() {
                return Ok(text);
            }
        }
        Err(format!("the text at {start:#x} does not end within {max} bytes"))
    }

    fn u32(&self, at: u64) -> Result<u32, String> {
        let mut word = [0; 4];
        match (self.read)(at, &mut word) {
            true => Ok(u32::from_le_bytes(word)),
            false => Err(format!("nothing can be read at {at:#x}")),
        }
    }
}

pub fn is_address(address: u64) -> bool {
    (PAGE..ADDRESS_END).contains(&address)
}
