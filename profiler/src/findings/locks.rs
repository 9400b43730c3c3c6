//! Who holds the heavyweight locks others wait for: what the rules on locks share.
//!
//! A wait belongs to one of three stories: the backends wait for each other, the one at the root of the queue is idle
//! in its transaction, or it works. Waits for a relation have a rule more, since the one that stands in the way may
//! hold nothing yet.

use super::time::{duration, number, short, sql_pid};
use crate::report::model::{Blocker, Blocking, LedgerPart, Report};
pub(super) use crate::report::phrases::locks::{describe, what};
use crate::vocabulary::BlockerState;

pub fn is_lock(part: &LedgerPart) -> bool {
    super::time::waits(part, "Lock", "")
}

/// The waits for locks, the longest first.
pub fn lock_waits(report: &Report) -> impl Iterator<Item = &Blocking> {
    report.blocking.iter().filter(|one| one.wait_event_type.eq_ignore_ascii_case("Lock"))
}

/// The last pid that the chain names, the one that waits for nobody; 0 for a prepared transaction.
pub fn root_pid(blocking: &Blocking) -> u32 {
    let named = blocking.chain.last().and_then(|link| {
        let (_, whom) = link.rsplit_once(" waits for ")?;
        if whom.contains("of a prepared transaction") {
            return Some(0);
        }
        let (_, rest) = whom.split_once("of pid ")?;
        let digits = rest.find(|c: char| !c.is_ascii_digit()).map_or(rest, |end| &rest[..end]);
        digits.parse().ok()
    });
    named.unwrap_or(blocking.blocker.pid)
}

/// The one at the end of the chain, where the report knows it.
pub fn root<'a>(report: &'a Report, blocking: &'a Blocking) -> Option<&'a Blocker> {
    let pid = root_pid(blocking);
    if pid == blocking.blocker.pid {
        return Some(&blocking.blocker);
    }
    // It may have been seen working in one wait and idle in another.
    let seen = report.blocking.iter().map(|one| &one.blocker).filter(|one| one.pid == pid);
    seen.max_by_key(|one| (is_idle(one), one.running_ns))
}

pub fn is_idle(blocker: &Blocker) -> bool {
    blocker.state == BlockerState::IdleInTransaction
}

/// The idle transaction this wait ends at.
pub fn idle_root<'a>(report: &'a Report, blocking: &'a Blocking) -> Option<&'a Blocker> {
    root(report, blocking).filter(|root| !blocking.cycle && is_idle(root))
}

pub fn is_relation(blocking: &Blocking) -> bool {
    blocking.wait_event.eq_ignore_ascii_case("relation")
}

/// Whether a rule more exact than the one on locks in general speaks of it.
pub fn is_special(report: &Report, blocking: &Blocking) -> bool {
    blocking.cycle || is_relation(blocking) || idle_root(report, blocking).is_some()
}

/// Several waits together.
#[derive(Debug, Default)]
pub struct Waits<'a> {
    /// The longest first.
    pub all: Vec<&'a Blocking>,
    pub ns: u64,
    pub count: u64,
    pub max_ns: u64,
    /// Still waiting at the end.
    pub waiting: u64,
    /// Backends that waited.
    pub pids: Vec<u32>,
}

impl<'a> Waits<'a> {
    /// None where there are none. A wait for several holders is in the rows of each, so that their sum may be more than
    /// all the time that statements waited in such parts, which is known.
    pub fn of(
        report: &Report,
        parts: fn(&LedgerPart) -> bool,
        waits: impl Iterator<Item = &'a Blocking>,
    ) -> Option<Self> {
        let mut out = Waits::default();
        for one in waits {
            out.all.push(one);
            out.ns += one.total_ns;
            out.count += one.count;
            out.max_ns = out.max_ns.max(one.max_ns);
            out.waiting += one.waiting;
            out.pids.extend(&one.pids);
        }
        out.pids.sort_unstable();
        out.pids.dedup();
        out.all.sort_by_key(|one| std::cmp::Reverse(one.total_ns));
        let known = super::time::cost(report, parts).ns;
        if known > 0 {
            out.ns = out.ns.min(known);
        }
        (!out.all.is_empty()).then_some(out)
    }

    /// `6 backends waited 58.1 s in all, in 12 waits, the longest 9.80 s; 6 still wait`
    pub fn summary(&self) -> String {
        let backends = match self.pids.len() {
            0 => "statements".to_owned(),
            1 => format!("pid {}", self.pids[0]),
            n => format!("{} backends", number(n as u64)),
        };
        let open = match self.waiting {
            0 => String::new(),
            1 => "; one was still waiting at the end".into(),
            n => format!("; {} were still waiting at the end", number(n)),
        };
        format!(
            "{backends} waited {} in all, in {} wait{}, the longest {}{open}",
            duration(self.ns),
            number(self.count),
            if self.count == 1 { "" } else { "s" },
            duration(self.max_ns)
        )
    }

    /// Who waits longest, for which lock.
    pub fn longest_waiter(&self) -> String {
        let one = self.all[0];
        format!("waited longest, {}, for {}: {}", duration(one.total_ns), what(one), short(&one.query))
    }

    /// The longest chain among them, a line a link.
    pub fn chain(&self) -> Vec<String> {
        let longest = self.all.iter().max_by_key(|one| one.chain.len());
        longest.map_or(Vec::new(), |one| one.chain.iter().take(4).map(|link| short(link)).collect())
    }
}

/// The query that shows a backend's transaction.
pub fn look_at(report: &Report, pid: u32) -> String {
    if pid == 0 {
        return "SELECT gid, prepared, owner, database FROM pg_prepared_xacts, and COMMIT PREPARED or ROLLBACK PREPARED \
                what is forgotten"
            .into();
    }
    format!(
        "SELECT pid, usename, application_name, client_addr, xact_start, state, query FROM pg_stat_activity WHERE pid = \
         {}",
        sql_pid(report, pid)
    )
}

#[cfg(test)]
mod tests {
    use super::super::testing::blocking;
    use super::*;

    #[test]
    fn the_root_is_the_last_of_the_chain() {
        let mut one = blocking("relation", 12, "waiting", 100);
        assert_eq!(root_pid(&one), 12);
        one.chain = vec![
            "pid 12 (ALTER TABLE of pid 9) waits for Lock:relation of pid 13".into(),
            "pid 13 (LOCK) waits for Lock:relation of pid 14 (idle)".into(),
        ];
        assert_eq!(root_pid(&one), 14);
        one.chain.push("pid 1 waits for x of pid ".into());
        assert_eq!(root_pid(&one), 12);
    }

    #[test]
    fn the_root_may_be_known_from_another_wait() {
        let mut report = Report::default();
        let mut queued = blocking("relation", 12, "waiting", 100);
        queued.chain = vec!["pid 12 (ALTER) waits for Lock:relation of pid 13".into()];
        report.blocking = vec![queued, blocking("relation", 13, "idle in transaction", 50)];
        assert_eq!(idle_root(&report, &report.blocking[0]).unwrap().pid, 13);
        report.blocking[0].cycle = true;
        assert_eq!(idle_root(&report, &report.blocking[0]), None);
        assert_eq!(Waits::of(&report, is_lock, report.blocking.iter()).unwrap().ns, 150_000_000);
    }

    #[test]
    fn a_wait_for_several_holders_counts_once() {
        let mut report = super::super::testing::report(&[("blocked", "Lock:relation", 100)]);
        report.blocking = (1..9).map(|pid| blocking("relation", pid, "idle in transaction", 100)).collect();
        assert_eq!(Waits::of(&report, is_lock, report.blocking.iter()).unwrap().ns, 100_000_000);
    }

    #[test]
    fn a_prepared_transaction_has_no_pid() {
        let mut one = blocking("transactionid", 12, "waiting", 100);
        one.chain = vec!["pid 12 (x of pid 3) waits for Lock:tuple of a prepared transaction and 2 more".into()];
        assert_eq!(root_pid(&one), 0);
        assert!(look_at(&Report::default(), 0).contains("pg_prepared_xacts"));
    }
}
