//! Who was waited for.

use super::format::{count, duration, short, tie};
use super::{Page, Style};
use crate::report::model::{Blocker, Blocking, Report};

/// Lines of a chain that are shown.
const CHAIN: usize = 4;
/// Pids of waiters that are named.
const PIDS: usize = 6;

/// `pid 4242 (client backend, application billing), active for 3.00 ms: UPDATE …`
pub(crate) fn describe(report: &Report, blocker: &Blocker) -> String {
    if blocker.pid == 0 {
        return "a prepared transaction (pg_prepared_xacts)".into();
    }
    let application = report.backends.iter().find(|one| one.pid == blocker.pid);
    let application = application.and_then(|one| one.application_name.as_deref()).filter(|name| !name.is_empty());
    let application = application.map_or(String::new(), |name| format!(", application {name}"));
    let role = if blocker.role.is_empty() { "backend" } else { &blocker.role };
    let state = match blocker.state.as_str() {
        "idle in transaction" => {
            format!("idle in transaction for {}, last statement", duration(blocker.idle_in_transaction_ns))
        }
        "waiting" => format!("itself waiting, for {}", duration(blocker.running_ns)),
        "" => "state not known".into(),
        state => format!("{state} for {}", duration(blocker.running_ns)),
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

pub(super) fn blocking(report: &Report, page: &mut Page) {
    if report.blocking.is_empty() {
        return;
    }
    page.heading("WHO WAS WAITED FOR");
    for (i, one) in report.blocking.iter().take(page.top).enumerate() {
        if i > 0 {
            page.blank();
        }
        let s = if one.count == 1 { "" } else { "s" };
        let open = if one.waiting > 0 { format!(", {} still waiting", count(one.waiting)) } else { String::new() };
        let cycle = if one.cycle { "  DEADLOCK" } else { "" };
        let title = format!(
            " {}  {} wait{s}, longest {}{open}  {}{cycle}",
            duration(one.total_ns),
            count(one.count),
            tie(&duration(one.max_ns)),
            what(one)
        );
        page.wrapped(if one.waiting > 0 || one.cycle { Style::Yellow } else { Style::Bold }, &title, 4, 2);
        let mut pids: Vec<String> = one.pids.iter().take(PIDS).map(u32::to_string).collect();
        if one.pids.len() > PIDS {
            pids.push(format!("{} more", one.pids.len() - PIDS));
        }
        let pids = if pids.is_empty() { String::new() } else { tie(&format!("pid {}: ", pids.join(", "))) };
        page.wrapped(Style::Plain, &format!("    waited  {pids}{}", one.query), 12, 2);
        page.wrapped(Style::Plain, &format!("    for     {}", describe(report, &one.blocker)), 12, 3);
        for link in one.chain.iter().take(CHAIN) {
            page.wrapped(Style::Plain, &format!("    and     {link}"), 12, 2);
        }
        if one.chain.len() > CHAIN {
            page.styled(Style::Dim, &format!("            … and {} more", one.chain.len() - CHAIN));
        }
    }
    page.more(report.blocking.len().saturating_sub(page.top), "waits");
}
