//! Waits by looks and by wake-ups: counted once, timed, chained.

use super::{rows::MAX_ROWS, *};
use crate::{
    report::model::Report,
    time::Merge,
    vocabulary::{BlockerState, Role},
};

const MS: u64 = 1_000_000;
const TRANSACTION: u32 = 0x0300_0005;

fn show(text: &[u8], _: bool) -> String {
    String::from_utf8_lossy(text).to_uppercase()
}

fn sight(waiter: u32, since_ms: u64, blockers: &[u32]) -> Sight {
    Sight {
        waiter,
        leader: waiter,
        event: TRANSACTION,
        relation: None,
        mode: "ShareLock",
        text: Some((b"update".to_vec(), false)),
        since_ns: since_ms * MS,
        identity: (7, (waiter, 0), 0, since_ms),
        blockers: blockers.iter().map(|pid| (*pid, false)).collect(),
    }
}

fn look(at_ms: u64, sights: &[Sight]) -> Waits {
    let standing =
        Standing { role: Some(Role::ClientBackend), state: Some(BlockerState::Active), ..Standing::default() };
    let blockers = sights.iter().flat_map(|sight| &sight.blockers).map(|(pid, _)| (*pid, standing.clone()));
    Waits { now_ns: at_ms * MS, sights: sights.to_vec(), standing: blockers.collect(), ..Waits::default() }
}

fn woken(waiter: u32, waited_ms: u64, at_ms: u64, blocker: Option<u32>) -> Ended {
    let (waited_ns, ended_ns) = (waited_ms * MS, at_ms * MS);
    let blocker = blocker.map(|pid| model::Blocker { pid, ..model::Blocker::default() });
    Ended { waiter, event: TRANSACTION, waited_ns, ended_ns, text: Some("UPDATE".into()), blocker }
}

/// Waits, and the account of the stretch of time under way.
#[derive(Default)]
struct Looks {
    blocking: Blocking,
    account: Blocked,
}

impl Looks {
    fn seen(&mut self, waits: Waits) {
        self.blocking.seen(waits, 15, show, &mut self.account);
    }

    fn ended(&mut self, ended: Ended) {
        self.blocking.ended(ended, &mut self.account);
    }

    /// Closes the account and begins the next one.
    fn cut(&mut self) -> Blocked {
        self.blocking.close(&mut self.account);
        std::mem::take(&mut self.account)
    }

    fn report(&self) -> Report {
        let mut now = Self { blocking: self.blocking.clone(), account: self.account.clone() };
        report_of(&now.cut())
    }
}

fn report_of(account: &Blocked) -> Report {
    let mut report = Report::default();
    account.fill(&mut report, 15);
    report
}

fn rows(looks: &Looks) -> Vec<model::Blocking> {
    looks.report().blocking
}

/// Waiter, blocker, count, milliseconds, those still waiting.
fn short(blocking: &Looks) -> Vec<(Vec<u32>, u32, u64, u64, u64)> {
    let short = |row: model::Blocking| (row.pids, row.blocker.pid, row.count, row.total_ns / MS, row.waiting);
    rows(blocking).into_iter().map(short).collect()
}

#[test]
fn looks_at_one_wait_are_one_wait() {
    let mut blocking = Looks::default();
    for at in [110, 210, 310] {
        blocking.seen(look(at, &[sight(2, 100, &[1])]));
    }
    assert_eq!(short(&blocking), [(vec![2], 1, 1, 210, 1)]);
    blocking.seen(look(410, &[]));
    assert_eq!(short(&blocking), [(vec![2], 1, 1, 210, 0)], "to the last look that saw it");
    // It stays so when it comes too late for a wake-up.
    blocking.seen(look(9_000, &[]));
    assert_eq!(short(&blocking), [(vec![2], 1, 1, 210, 0)]);
    let row = &rows(&blocking)[0];
    assert_eq!((row.wait_event_type.as_str(), row.wait_event.as_str()), ("Lock", "transactionid"));
    assert_eq!((row.query.as_str(), row.mode.as_deref(), row.max_ns), ("UPDATE", Some("ShareLock"), 210 * MS));
}

#[test]
fn the_next_wait_of_the_same_backend_is_another() {
    let mut blocking = Looks::default();
    blocking.seen(look(200, &[sight(2, 100, &[1])]));
    blocking.seen(look(300, &[sight(2, 250, &[1])]));
    assert_eq!(short(&blocking), [(vec![2], 1, 2, 150, 1)]);
}

#[test]
fn a_look_without_an_answer_ends_no_wait() {
    let mut blocking = Looks::default();
    blocking.seen(look(200, &[sight(2, 100, &[1])]));
    blocking.seen(Waits { unsure: [2].into(), left_out: vec![2], ..look(300, &[]) });
    blocking.seen(look(400, &[sight(2, 100, &[1])]));
    assert_eq!(short(&blocking), [(vec![2], 1, 1, 300, 1)]);
    let report = blocking.report();
    assert_eq!(report.coverage.lost["lock_looks_left_out"], 1);
}

#[test]
fn each_of_several_blockers_has_its_own_time() {
    let mut blocking = Looks::default();
    for (at, blockers) in [(200, vec![1, 3]), (300, vec![3, 4]), (400, vec![4])] {
        blocking.seen(look(at, &[sight(2, 100, &blockers)]));
    }
    assert_eq!(short(&blocking), [(vec![2], 3, 1, 200, 1), (vec![2], 1, 1, 100, 1), (vec![2], 4, 1, 100, 1)]);
}

/// Who only stands before it is named where nobody holds the lock.
#[test]
fn holders_are_blamed_before_those_in_the_queue() {
    let mut blocking = Looks::default();
    let behind = |blockers: &[(u32, bool)]| Sight { blockers: blockers.to_vec(), ..sight(2, 100, &[]) };
    blocking.seen(look(200, &[behind(&[(1, false), (3, true)])]));
    assert_eq!(short(&blocking), [(vec![2], 1, 1, 100, 1)]);
    blocking.seen(look(300, &[behind(&[(3, true)])]));
    blocking.seen(look(400, &[behind(&[(3, true)])]));
    assert_eq!(short(&blocking), [(vec![2], 1, 1, 100, 1), (vec![2], 3, 1, 100, 1)]);
    assert_eq!(rows(&blocking)[1].blocker.state, BlockerState::Waiting);
}

#[test]
fn a_wake_up_replaces_the_time_of_the_looks() {
    let mut blocking = Looks::default();
    blocking.seen(look(200, &[sight(2, 100, &[1])]));
    // Before the look that misses the wait, and after it.
    blocking.ended(woken(2, 150, 250, Some(1)));
    assert_eq!(short(&blocking), [(vec![2], 1, 1, 150, 0)]);
    blocking.seen(look(300, &[sight(5, 280, &[1])]));
    blocking.seen(look(400, &[]));
    blocking.ended(woken(5, 60, 340, Some(1)));
    assert_eq!(short(&blocking), [(vec![2, 5], 1, 2, 210, 0)]);
    assert_eq!(rows(&blocking)[0].max_ns, 150 * MS);
}

#[test]
fn a_wake_up_by_another_gives_its_time_to_the_one_longest_in_the_way() {
    let mut blocking = Looks::default();
    blocking.seen(look(200, &[sight(2, 100, &[1])]));
    blocking.seen(look(300, &[sight(2, 100, &[1, 3])]));
    blocking.ended(woken(2, 250, 350, None));
    assert_eq!(short(&blocking), [(vec![2], 1, 1, 250, 0), (vec![2], 3, 1, 0, 0)]);
}

#[test]
fn a_wait_too_short_for_the_looks_has_a_row_by_its_wake_up() {
    let mut blocking = Looks::default();
    blocking.ended(woken(2, 3, 250, Some(1)));
    blocking.ended(woken(4, 5, 260, Some(1)));
    blocking.ended(woken(4, 5, 270, None));
    assert_eq!(short(&blocking), [(vec![2, 4], 1, 2, 8, 0)]);
}

#[test]
fn an_interval_has_its_own_part_of_a_wait() {
    let mut blocking = Looks::default();
    blocking.seen(look(200, &[sight(2, 100, &[1])]));
    blocking.cut();
    assert_eq!(short(&blocking), [(vec![2], 1, 1, 0, 1)]);
    blocking.seen(look(300, &[sight(2, 100, &[1])]));
    assert_eq!(short(&blocking), [(vec![2], 1, 1, 100, 1)]);
    blocking.ended(woken(2, 230, 330, Some(1)));
    assert_eq!(short(&blocking), [(vec![2], 1, 1, 130, 0)]);
    blocking.cut();
    assert_eq!(short(&blocking), []);
}

#[test]
fn chains_lead_to_the_root() {
    let mut blocking = Looks::default();
    blocking.seen(look(200, &[sight(2, 100, &[1]), sight(3, 100, &[2]), sight(4, 100, &[3])]));
    let chains: HashMap<Vec<u32>, Vec<String>> = rows(&blocking).into_iter().map(|row| (row.pids, row.chain)).collect();
    let link = |pid: u32| format!("pid {pid} (UPDATE) waits for Lock:transactionid of pid {}", pid - 1);
    assert_eq!(chains[&vec![2]], Vec::<String>::new());
    assert_eq!(chains[&vec![3]], [link(2)]);
    assert_eq!(chains[&vec![4]], [link(3), link(2)]);
    assert!(rows(&blocking).iter().all(|row| !row.cycle));
}

#[test]
fn a_wait_that_becomes_a_cycle_is_one_wait() {
    let mut blocking = Looks::default();
    blocking.seen(look(200, &[sight(2, 100, &[1])]));
    // 4 waits for the two, and is in no cycle itself.
    let all = [sight(2, 100, &[1]), sight(1, 250, &[3]), sight(3, 250, &[2]), sight(4, 250, &[1])];
    blocking.seen(look(300, &all));
    let rows = rows(&blocking);
    let cycles: HashMap<Vec<u32>, bool> = rows.iter().map(|row| (row.pids.clone(), row.cycle)).collect();
    assert_eq!(cycles, HashMap::from([(vec![1], true), (vec![2], true), (vec![3], true), (vec![4], false)]));
    assert!(rows.iter().all(|row| row.count == 1));
    let longest = rows.iter().find(|row| row.pids == [4]).unwrap();
    assert_eq!(longest.chain.len(), 3, "once around: {:?}", longest.chain);
}

/// A worker waits: its group is in the cycle by its leader.
#[test]
fn a_cycle_through_a_worker() {
    let worker = Sight { leader: 1, ..sight(11, 100, &[2]) };
    let mut blocking = Looks::default();
    blocking.seen(look(200, &[worker, sight(2, 100, &[1])]));
    assert!(rows(&blocking).iter().all(|row| row.cycle));
}

#[test]
fn waits_of_one_class_for_one_backend_are_one_row() {
    let mut blocking = Looks::default();
    let all: Vec<Sight> = (2..300).map(|pid| sight(pid, 100, &[1])).collect();
    blocking.seen(look(200, &all));
    let row = &rows(&blocking)[0];
    assert_eq!(
        (row.count, row.total_ns, row.waiting, row.pids.len()),
        (298, 298 * 100 * MS, 298, crate::aggregate::pids::MAX_PIDS)
    );
}

#[test]
fn rows_are_bounded_and_what_has_no_room_is_counted() {
    let mut blocking = Looks::default();
    let all: Vec<Sight> = (0..MAX_ROWS as u32 + 5).map(|pid| sight(10_000 + pid, 100, &[pid + 1])).collect();
    blocking.seen(look(200, &all));
    let report = blocking.report();
    assert_eq!((report.blocking.len(), report.coverage.lost["blocking_folded"]), (MAX_ROWS, 5));
}

/// A wait of two backends one after the other, cut at every look: merged again it is one wait.
#[test]
fn parts_of_a_wait_are_one_when_merged() {
    let run = |cuts: &[u64]| {
        let (mut looks, mut whole) = (Looks::default(), None::<Blocked>);
        let mut cut = |looks: &mut Looks| {
            let part = looks.cut();
            match &mut whole {
                Some(whole) => whole.merge(part),
                None => whole = Some(part),
            }
        };
        for at in [200, 300, 400, 500, 600] {
            let sights: &[Sight] = match at {
                200 | 300 => &[sight(2, 100, &[1, 3])],
                400 => &[sight(2, 100, &[3]), sight(4, 350, &[3])],
                500 => &[sight(4, 350, &[3])],
                _ => &[],
            };
            looks.seen(look(at, sights));
            if at == 400 {
                looks.ended(woken(2, 340, 440, Some(3)));
            }
            if cuts.contains(&at) {
                cut(&mut looks);
            }
        }
        cut(&mut looks);
        report_of(&whole.unwrap()).blocking
    };
    let whole = run(&[]);
    assert_eq!(whole.len(), 2);
    for cuts in [&[200][..], &[300], &[400], &[200, 300], &[200, 300, 400, 500]] {
        assert_eq!(run(cuts), whole, "cut at {cuts:?}");
    }
}

/// A client that thinks for two seconds and then commits: at the last look its backend works.
#[test]
fn one_that_was_idle_for_most_of_the_wait_is_idle() {
    let seen = |looks: &[(u64, Option<u64>, u64)]| {
        let mut all = Looks::default();
        for (at, running_ms, idle_ms) in looks {
            let mut waits = look(*at, &[sight(2, 1_000, &[1])]);
            let standing = waits.standing.get_mut(&1).unwrap();
            standing.state = Some(running_ms.map_or(BlockerState::IdleInTransaction, |_| BlockerState::Active));
            standing.text = Some((if running_ms.is_some() { &b"commit"[..] } else { b"update" }.to_vec(), false));
            (standing.running_ns, standing.idle_ns) = (running_ms.unwrap_or(0) * MS, idle_ms * MS);
            all.seen(waits);
        }
        rows(&all)[0].blocker.clone()
    };
    let idle = seen(&[(1_100, None, 150), (2_900, None, 1_950), (3_000, Some(50), 2_000)]);
    assert_eq!((idle.state.as_str(), idle.query.as_deref()), ("idle in transaction", Some("UPDATE")));
    assert_eq!(idle.idle_in_transaction_ns, 2_000 * MS);
    let once = seen(&[(3_000, Some(50), 2_000)]);
    assert_eq!((once.state.as_str(), once.query.as_deref()), ("idle in transaction", None), "not its COMMIT");
    let works = seen(&[(1_100, Some(100), 9_000), (3_000, Some(2_000), 9_000)]);
    assert_eq!(
        (works.state.as_str(), works.query.as_deref()),
        ("active", Some("COMMIT")),
        "idle before it was waited for"
    );
}
