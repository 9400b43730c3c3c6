//! Requests one by one, as the kernel side sends them: numbers become names.

use std::collections::{HashMap, HashSet};

use pgstrobe_common::{
    block::{OP_FLUSH, OP_OTHER, OP_SYNC, OWNER, OWNER_BACKEND},
    trace::Traced,
};

use super::{Block, Owners, build::operation, group, hierarchy, id};
use crate::{report::trace::Request, vocabulary::Role};

/// Flags of a request (`enum req_flag_bits`, include/linux/blk_types.h): the same bits from 5.10 on.
const FLAGS: [(u32, &str); 5] =
    [(1 << 11, "sync"), (1 << 12, "meta"), (1 << 17, "fua"), (1 << 18, "preflush"), (1 << 19, "readahead")];

/// Error numbers of `BLK_STS_NOTSUPP` (1) and those after it (include/linux/blk_types.h, `blk_errors` of
/// block/blk-core.c). What comes behind is not the same on all kernels.
const STATUSES: [i32; 13] = [
    libc::EOPNOTSUPP,
    libc::ETIMEDOUT,
    libc::ENOSPC,
    libc::ENOLINK,
    libc::EREMOTEIO,
    libc::EBADE,
    libc::ENODATA,
    libc::EILSEQ,
    libc::ENOMEM,
    libc::EIO,
    libc::EREMCHG,
    libc::EAGAIN,
    libc::EBUSY,
];

impl Block {
    /// A request is complete.
    pub fn traced(&mut self, record: Traced) {
        self.traced.push(record);
    }

    /// What came since this was last asked and was complete after `began_ns`, in the order of the ends. Seen from the
    /// server of this number, with the `roles` of its backends.
    pub fn requests(&mut self, number: u16, roles: &HashMap<u32, Role>, began_ns: u64) -> Vec<Request> {
        let mut records = std::mem::take(&mut self.traced);
        records.retain(|record| record.header.ts_ns >= began_ns);
        records.sort_by_key(|record| record.header.ts_ns);
        let devices: HashSet<u32> = records.iter().map(|record| record.key.device).collect();
        self.devices
            .learn(devices.into_iter().filter(|device| !self.devices.knows(*device)).collect::<Vec<_>>().into_iter());
        let mut groups = records.iter().map(|record| record.key.cgroup).filter(|number| *number != 0);
        if !self.sought && groups.any(|number| !self.names.knows(hierarchy(number), id(number))) {
            self.names.refresh();
            self.sought = true;
        }
        let group = group(&self.names);
        let owners = Owners { roles, group: &group, number, own: self.own(number) };
        records
            .iter()
            .map(|record| request(record, began_ns, &owners, &self.devices.get(record.key.device).name))
            .collect()
    }
}

fn request(record: &Traced, began_ns: u64, owners: &Owners<'_>, device: &str) -> Request {
    let mut key = record.key;
    key.owner = owners.kind(&key);
    let end = record.comm.iter().position(|byte| *byte == 0).unwrap_or(record.comm.len());
    let mut owner = owners.name(&key, &String::from_utf8_lossy(&record.comm[..end]));
    if key.owner & OWNER == OWNER_BACKEND {
        owner.pid = Some(key.pid);
    }
    let (inserted, issued, ended) = (record.inserted_ns, record.issued_ns, record.header.ts_ns);
    // A flush is of the whole device, and a command has places of its own.
    let placed = !matches!(key.op, OP_FLUSH | OP_SYNC | OP_OTHER);
    Request {
        completed_ns: ended - began_ns,
        device: device.to_owned(),
        operation: operation(key.op).into(),
        flags: FLAGS.iter().filter(|(bit, _)| record.flags & bit != 0).map(|(_, name)| (*name).to_owned()).collect(),
        sector: placed.then_some(record.sector),
        bytes: record.bytes as u64,
        queue_ns: (inserted != 0 && issued != 0).then(|| issued.saturating_sub(inserted)),
        device_ns: (issued != 0).then(|| ended.saturating_sub(issued)),
        error: error(record.error),
        owner,
    }
}

/// What a request failed with: the tracepoint has a negative error number up to 5.15, and then a `blk_status_t`.
fn error(code: i32) -> Option<String> {
    let number = match code {
        0 => return None,
        ..0 => -code,
        1.. => match STATUSES.get(code as usize - 1) {
            Some(number) => *number,
            None => return Some(format!("block status {code}")),
        },
    };
    let text = std::io::Error::from_raw_os_error(number).to_string();
    Some(text.split(" (os error").next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use pgstrobe_common::{
        block::{BlockKey, OP_READ, OWNER_PROCESS, owner},
        cluster::NO_CLUSTER,
        record::Header,
    };

    use super::*;

    fn traced(op: u32, owner: u32) -> Traced {
        let mut comm = [0; 16];
        comm[..3].copy_from_slice(b"fio");
        Traced {
            header: Header::of::<Traced>(0, 7, 10_900),
            inserted_ns: 10_100,
            issued_ns: 10_300,
            sector: 64,
            key: BlockKey { cgroup: 0, device: 1, pid: 7, op, owner },
            flags: 1 << 19,
            bytes: 4096,
            comm,
            ..Traced::default()
        }
    }

    fn named(record: &Traced, roles: &[(u32, Role)]) -> Request {
        let roles = roles.iter().copied().collect();
        request(record, 10_000, &Owners { roles: &roles, group: &|_| None, number: 0, own: "own" }, "sda")
    }

    #[test]
    fn times_are_from_one_event_to_the_next() {
        let one = named(&traced(OP_READ, owner(OWNER_PROCESS, NO_CLUSTER)), &[]);
        assert_eq!((one.completed_ns, one.queue_ns, one.device_ns), (900, Some(200), Some(600)));
        assert_eq!(
            (one.device.as_str(), one.operation.as_str(), one.sector, one.bytes),
            ("sda", "read", Some(64), 4096)
        );
        assert_eq!((one.flags.as_slice(), &one.error), (&["readahead".to_owned()][..], &None));
        assert_eq!((one.owner.kind.as_str(), one.owner.name.as_str(), one.owner.pid), ("process", "fio", Some(7)));
        let at_once = named(&Traced { inserted_ns: 0, ..traced(OP_READ, owner(OWNER_PROCESS, NO_CLUSTER)) }, &[]);
        assert_eq!((at_once.queue_ns, at_once.device_ns), (None, Some(600)));
        let unseen = named(&Traced { inserted_ns: 0, issued_ns: 0, ..traced(OP_READ, owner(0, NO_CLUSTER)) }, &[]);
        assert_eq!((unseen.queue_ns, unseen.device_ns, unseen.owner.kind.as_str()), (None, None, "unseen"));
    }

    #[test]
    fn a_backend_has_its_role_and_its_pid_and_a_flush_no_place() {
        for owner in [owner(OWNER_BACKEND, 0), owner(OWNER_PROCESS, NO_CLUSTER)] {
            let one = named(&traced(OP_SYNC, owner), &[(7, Role::WalWriter)]);
            let owner = &one.owner;
            assert_eq!((owner.kind.as_str(), owner.name.as_str(), owner.pid), ("backend", "walwriter", Some(7)));
            assert_eq!((owner.cluster, owner.cgroup.as_str(), one.sector), (true, "own", None));
        }
    }

    #[test]
    fn both_kinds_of_errors() {
        assert_eq!(error(0), None);
        assert_eq!(
            (error(-libc::EIO), error(10)),
            (Some("Input/output error".into()), Some("Input/output error".into()))
        );
        assert_eq!((error(3), error(17)), (Some("No space left on device".into()), Some("block status 17".into())));
    }
}
