//! Who wants a request of a block device.

use crate::report::model::BlockOwner;

/// `checkpointer`, `fio (pid 12)`, `kworker`.
pub(crate) fn who(owner: &BlockOwner) -> String {
    match owner.pid {
        Some(pid) => format!("{} (pid {pid})", owner.name),
        None => owner.name.clone(),
    }
}
