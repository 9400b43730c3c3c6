//! Who was waited for, and under which lock.

use crate::{
    report::model::{Blocker, Blocking, Report},
    vocabulary::BlockerState,
    words::{duration, short},
};

/// `pid 4242 (client backend, application billing), active for 3.00 ms: UPDATE …`
pub(crate) fn describe(report: &Report, blocker: &Blocker) -> String {
    if blocker.pid == 0 {
        return "a prepared transaction (pg_prepared_xacts)".into();
    }
    let application = report.backends.iter().find(|one| one.pid == blocker.pid);
    let application = application.and_then(|one| one.application_name.as_deref()).filter(|name| !name.is_empty());
    let application = application.map_or(String::new(), |name| format!(", application {name}"));
    let role = if blocker.role.is_empty() { "backend" } else { &*blocker.role };
    let state = match (blocker.state.known(), &*blocker.state) {
        (Some(BlockerState::IdleInTransaction), _) => {
            format!("idle in transaction for {}, last statement", duration(blocker.idle_in_transaction_ns))
        }
        (Some(BlockerState::Waiting), _) => format!("itself waiting, for {}", duration(blocker.running_ns)),
        (_, "") => "state not known".into(),
        (_, state) => format!("{state} for {}", duration(blocker.running_ns)),
    };
    let query = blocker.query.as_deref().map_or("(text not known)".into(), short);
    format!("pid {} ({role}{application}), {state}: {query}", blocker.pid)
}

/// The lock of a wait: `Lock:relation, AccessExclusiveLock of relation 16397`.
pub(crate) fn what(blocking: &Blocking) -> String {
    let mut out = format!("{}:{}", blocking.wait_event_type, blocking.wait_event);
    match (&blocking.mode, blocking.relation) {
        (Some(mode), Some(relation)) => out.push_str(&format!(", {mode} of relation {relation}")),
        (Some(mode), None) => out.push_str(&format!(", {mode}")),
        (None, Some(relation)) => out.push_str(&format!(" of relation {relation}")),
        (None, None) => {}
    }
    out
}
