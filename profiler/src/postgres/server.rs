//! One running server, ready to be profiled: where its variables are, which layout holds, and who its processes are.

use std::{cell::RefCell, collections::HashMap};

use pgstrobe_common::{
    cluster::Cluster as KernelCluster,
    fields::{ABSENT, PgFields, PgSymbols},
};

use super::{
    backend::{self, Identity, Role},
    binary::{Binary, BinaryError},
    cluster::{self, Cluster},
    layout::{self, Layout, LiveBackend},
    memory::ProcessMemory,
    patience::Patience,
    status_pointer, wait_event,
};

/// Longest title read, in bytes.
const TITLE_MAX: usize = 512;
/// Longest name in Postgres with its terminating zero (`NAMEDATALEN`).
const NAME_MAX: usize = 64;
/// Live backends a layout is checked against.
const WITNESSES: usize = 8;

/// Reads the memory of one process; owns what [`layout::Read`] borrows.
type Reader<'a> = Box<dyn Fn(u64, &mut [u8]) -> bool + 'a>;

#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error("cannot read the server's executable: {0}")]
    Binary(#[from] BinaryError),
    #[error("cannot find where the server's executable is loaded in process {0}: it may have just ended")]
    LoadBase(u32),
    #[error(
        "the server's executable exports no `debug_query_string`: statements cannot be told apart from idle time. \
         Is it a Postgres of version 13 to 18?"
    )]
    NoQueryString,
}

/// A cluster and what is known of its processes' memory.
pub struct Server {
    pub cluster: Cluster,
    pub binary: Binary,
    pub symbols: PgSymbols,
    pub fields: PgFields,
    /// None for a version without a table.
    pub layout: Option<&'static Layout>,
    /// What was refused and why, for people.
    pub notes: Vec<String>,
    /// By which its files are looked into.
    pub patience: Patience,
    /// Processes by their pid in the server's own namespace, as far as they were asked for.
    host_pids: RefCell<HashMap<u32, u32>>,
}

impl Server {
    /// Reads the executable and checks the layout of its version against live processes.
    pub fn open(cluster: Cluster) -> Result<Self, ServerError> {
        let binary = Binary::of_process(cluster.postmaster_pid)?;
        let base = binary.load_base(cluster.postmaster_pid).ok_or(ServerError::LoadBase(cluster.postmaster_pid))?;
        let symbols = PgSymbols::resolve(|name| Some(base + binary.symbol(name)?.address));
        if symbols.debug_query_string == 0 {
            return Err(ServerError::NoQueryString);
        }
        let mut this = Self {
            cluster,
            binary,
            symbols,
            fields: PgFields::UNRESOLVED,
            layout: None,
            notes: Vec::new(),
            patience: Patience::default(),
            host_pids: RefCell::default(),
        };
        this.verify(base);
        Ok(this)
    }

    fn verify(&mut self, base: u64) {
        let major = self.cluster.version.major;
        let Some(layout) = layout::for_major(major) else {
            self.notes.push(format!(
                "PostgreSQL {major} has no layout table: database, user, application and statement texts are not shown"
            ));
            return;
        };
        self.layout = Some(layout);
        let children = cluster::children(&self.cluster).into_iter();
        let children: Vec<_> = children.filter_map(|pid| Some((pid, cluster::namespace_pid(pid)?))).collect();
        if self.symbols.my_be_entry == 0 {
            self.symbols.my_be_entry = status_pointer::find(&self.binary, base, layout, &children).unwrap_or(0);
        }
        let witnesses: Vec<_> = children
            .into_iter()
            .filter_map(|(pid, inner)| {
                let memory = ProcessMemory::open(pid).ok()?;
                // Those past their start-up have the one or the other.
                let pointer = |variable| if variable == 0 { 0 } else { memory.ptr(variable).unwrap_or(0) };
                let status = pointer(self.symbols.my_be_entry);
                if status == 0 && (self.symbols.my_be_entry != 0 || pointer(self.symbols.my_proc) == 0) {
                    return None;
                }
                let identity = backend::from_title(&title(pid), None);
                Some((memory, inner, status, identity))
            })
            .collect();
        // Clients first: they confirm the most.
        let mut order: Vec<usize> = (0..witnesses.len()).collect();
        order.sort_by_key(|&i| witnesses[i].3.role != Role::ClientBackend);
        let readers: Vec<Reader<'_>> = order
            .iter()
            .take(WITNESSES)
            .map(|&i| {
                let memory = &witnesses[i].0;
                Box::new(move |address: u64, into: &mut [u8]| memory.bytes(address, into).is_ok()) as Box<_>
            })
            .collect();
        let backends: Vec<_> = order
            .iter()
            .zip(&readers)
            .map(|(&i, read)| {
                let (memory, pid, status, identity) = &witnesses[i];
                let variable = |address: u64| if address == 0 { 0 } else { memory.ptr(address).unwrap_or(0) };
                let live = LiveBackend {
                    pid: *pid,
                    my_be_entry: *status,
                    my_proc: variable(self.symbols.my_proc),
                    my_proc_port: variable(self.symbols.my_proc_port),
                    is_client: identity.role == Role::ClientBackend,
                    // Titles are split at spaces, which names may hold: no witness for the names.
                    database: None,
                    user: None,
                };
                (live, read.as_ref())
            })
            .collect();
        let verified = layout::verify_all(layout, &backends);
        self.fields = verified.fields;
        self.notes.extend(verified.reasons);
    }

    /// Whether its layout holds as far as live processes can tell; always of a version that has no table of one.
    pub fn is_verified(&self) -> bool {
        self.layout.is_none() || self.symbols.my_be_entry == 0 || self.fields.status_state != ABSENT
    }

    /// What the kernel side is to know of this server. A quota is not looked for.
    pub fn for_kernel(&self) -> KernelCluster {
        let major = self.cluster.version.major;
        let mut fields = self.fields;
        if !self.computes_query_ids() {
            // Saves a read per statement; classes then come from the texts.
            fields.status_query_id = ABSENT;
        }
        let backend_type = |role| backend::backend_type_of(major, role).unwrap_or(u32::MAX);
        let group = |event| wait_event::encode(major, wait_event::CLASS_IPC, event).unwrap_or(0);
        KernelCluster {
            symbols: self.symbols,
            fields,
            quota: 0,
            activity_size: self.activity_size() as u32,
            backend_type_client: backend_type(Role::ClientBackend),
            backend_type_walsender: backend_type(Role::WalSender),
            state_running: self.layout.map_or(u32::MAX, |layout| layout.state_running),
            waits_for_others: ["ProcArrayGroupUpdate", "XactGroupUpdate", "SyncRep"].map(group),
            wait_for_aio: wait_event::encode(major, wait_event::CLASS_IO, "AioIoCompletion").unwrap_or(0),
            ..KernelCluster::UNRESOLVED
        }
    }

    /// Whether the server as a whole computes query ids; true when that cannot be known. A session that turns it on for
    /// itself alone is told apart by its texts, as on a server without ids.
    fn computes_query_ids(&self) -> bool {
        /// `ComputeQueryIdType` (src/include/nodes/queryjumble.h, utils/queryjumble.h before 16).
        const OFF: u32 = 0;
        const AUTO: u32 = 2;
        match self.variable("compute_query_id") {
            Some(OFF) => false,
            // `query_id_enabled`: an extension such as pg_stat_statements asked for ids.
            Some(AUTO) => self.variable("query_id_enabled").is_none_or(|value| value & 0xff != 0),
            _ => true,
        }
    }

    /// `track_activity_query_size`: longest activity string with its terminating zero, in bytes.
    pub fn activity_size(&self) -> usize {
        self.read_u32(self.symbols.activity_query_size).unwrap_or(1024) as usize
    }

    /// `track_activities`: whether the server shows what its backends do.
    pub fn tracks_activities(&self) -> bool {
        self.read_u32(self.symbols.track_activities).is_none_or(|value| value & 0xff != 0)
    }

    /// Where a variable of the server is in every process of it.
    pub fn address(&self, name: &str) -> Option<u64> {
        let base = self.binary.load_base(self.cluster.postmaster_pid)?;
        Some(base + self.binary.symbol(name)?.address)
    }

    /// A setting that the server keeps in an exported variable of 32 bits, as the postmaster has it.
    pub fn variable(&self, name: &str) -> Option<u32> {
        self.read_u32(self.address(name)?)
    }

    fn read_u32(&self, address: u64) -> Option<u32> {
        if address == 0 {
            return None;
        }
        ProcessMemory::open(self.cluster.postmaster_pid).ok()?.read_u32(address).ok()
    }

    /// A role by the value of `MyBackendType`.
    pub fn role(&self, backend_type: u32) -> Option<Role> {
        backend::from_backend_type(self.cluster.version.major, backend_type)
    }

    /// Who a live process is: by its memory where the layout holds, else by its title.
    pub fn identify(&self, pid: u32) -> Identity {
        let Ok(memory) = ProcessMemory::open(pid) else { return Identity::default() };
        let variable = self.symbols.my_backend_type;
        let backend_type = if variable == 0 { None } else { memory.read_u32(variable).ok() };
        let mut identity = self.identity(&title(pid), backend_type.unwrap_or(u32::MAX));
        if !matches!(identity.role, Role::ClientBackend | Role::WalSender) {
            return identity;
        }
        let variable = |address: u64| (address != 0).then(|| memory.ptr(address).ok()).flatten().filter(|p| *p != 0);
        let string = |base: Option<u64>, offset: u32| {
            let address = memory.ptr(base? + if offset == ABSENT { return None } else { offset as u64 }).ok()?;
            let bytes = memory.cstr(address, NAME_MAX).ok()?;
            Some(String::from_utf8_lossy(&bytes).into_owned()).filter(|name| !name.is_empty())
        };
        let port = variable(self.symbols.my_proc_port);
        let status = variable(self.symbols.my_be_entry);
        identity.database = string(port, self.fields.port_database_name).or(identity.database);
        identity.user = string(port, self.fields.port_user_name).or(identity.user);
        identity.application_name = string(status, self.fields.status_appname);
        identity
    }

    /// A process's pid in the pid namespace of the server, if that is not this one.
    pub fn namespace_pid(&self, pid: u32) -> Option<u32> {
        let inside = self.cluster.namespace_pid != self.cluster.postmaster_pid;
        if inside { cluster::namespace_pid(pid) } else { None }
    }

    /// Who a child of the postmaster is by its title and the value of its `MyBackendType`; unknown while it has the
    /// postmaster's title and no type, or one that says too little.
    pub fn identity(&self, title: &[u8], backend_type: u32) -> Identity {
        let mut identity = backend::from_title(title, None);
        if identity.role == Role::Postmaster {
            identity.role = Role::Unknown;
        }
        match self.role(backend_type) {
            // Parallel and logical workers share it: the title, which every worker sets at its beginning, knows better.
            None | Some(Role::BackgroundWorker) => {}
            Some(role) => identity.role = role,
        }
        identity.leader = identity.leader.and_then(|own| self.host_pid(own));
        identity
    }

    /// A process by its pid in the server's own namespace.
    fn host_pid(&self, own: u32) -> Option<u32> {
        if self.cluster.namespace_pid == self.cluster.postmaster_pid {
            return Some(own);
        }
        let mut host_pids = self.host_pids.borrow_mut();
        let known = host_pids.get(&own).copied();
        if known.is_some_and(|pid| cluster::namespace_pid(pid) == Some(own)) {
            return known;
        }
        let Some(pid) = cluster::host_pid(&self.cluster, own) else {
            // It has ended since.
            return known;
        };
        host_pids.insert(own, pid);
        Some(pid)
    }

    /// Whether a client backend is still in authentication or start-up.
    pub fn is_starting(&self, pid: u32) -> bool {
        let Ok(memory) = ProcessMemory::open(pid) else { return true };
        let status = memory.ptr(self.symbols.my_be_entry).unwrap_or(0);
        if status == 0 {
            return true;
        }
        match self.layout {
            Some(layout) if self.fields.status_state != ABSENT => {
                let state = memory.read_u32(status + self.fields.status_state as u64).unwrap_or(0);
                state == layout.state_undefined || Some(state) == layout.state_starting
            }
            _ => memory.read_u32(self.symbols.client_auth_in_progress).is_ok_and(|value| value & 0xff != 0),
        }
    }

    /// Whether a backend has a statement in work.
    pub fn is_working(&self, pid: u32) -> bool {
        ProcessMemory::open(pid)
            .and_then(|memory| memory.ptr(self.symbols.debug_query_string))
            .is_ok_and(|address| address != 0)
    }

    /// Whether a backend between statements has a transaction open.
    pub fn is_in_transaction(&self, pid: u32) -> bool {
        let read = || {
            if self.symbols.my_be_entry == 0 || self.fields.status_state == ABSENT {
                return None;
            }
            let memory = ProcessMemory::open(pid).ok()?;
            memory.read_u32(memory.ptr(self.symbols.my_be_entry).ok()? + self.fields.status_state as u64).ok()
        };
        // `STATE_IDLEINTRANSACTION` follows `STATE_RUNNING`, `STATE_IDLEINTRANSACTION_ABORTED` is two behind
        // (src/include/utils/backend_status.h, pgstat.h before 14).
        let running = self.layout.map_or(u32::MAX, |layout| layout.state_running);
        read().is_some_and(|state| running != u32::MAX && (state == running + 1 || state == running + 3))
    }

    /// `wait_event_info` of a live process; 0 when it waits for nothing or cannot be read.
    pub fn wait_event(&self, pid: u32) -> u32 {
        let read = || {
            let memory = ProcessMemory::open(pid).ok()?;
            if self.symbols.my_wait_event_info != 0 {
                return memory.read_u32(memory.ptr(self.symbols.my_wait_event_info).ok()?).ok();
            }
            if self.fields.proc_wait_event == ABSENT || self.symbols.my_proc == 0 {
                return None;
            }
            let proc = memory.ptr(self.symbols.my_proc).ok().filter(|proc| *proc != 0)?;
            memory.read_u32(proc + self.fields.proc_wait_event as u64).ok()
        };
        read().unwrap_or(0)
    }

    /// The text a backend works on, and whether it is cut.
    pub fn query(&self, pid: u32) -> Option<(Vec<u8>, bool)> {
        let memory = ProcessMemory::open(pid).ok()?;
        let address = memory.ptr(self.symbols.debug_query_string).ok().filter(|address| *address != 0)?;
        let max = pgstrobe_common::record::TEXT_LEN;
        let text = memory.cstr(address, max).ok()?;
        let cut = text.len() + 1 >= max;
        Some((text, cut))
    }
}

/// What a process shows as its command line.
fn title(pid: u32) -> Vec<u8> {
    let mut title = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    title.truncate(TITLE_MAX);
    title
}
