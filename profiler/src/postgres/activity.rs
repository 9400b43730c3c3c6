//! What a backend says it does: its state and the text of its statement, as `pg_stat_activity` shows them, read from its
//! entry in shared memory through whichever process of the server.

use pgstrobe_common::fields::ABSENT;

use super::{layout::Layout, memory::ProcessMemory, server::Server};

/// Longest text taken, in bytes; the server's default keeps 1024.
const TEXT_MAX: usize = 4096;
/// The owner may be in the middle of a change.
const ATTEMPTS: usize = 3;

/// `BackendState` (src/include/utils/backend_status.h; pgstat.h in 13), as far as it matters to those who wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Active,
    Idle,
    IdleInTransaction,
    IdleInFailedTransaction,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Activity {
    pub state: State,
    /// The statement in work, or the last one; raw, with its literals.
    pub text: Vec<u8>,
    pub cut: bool,
}

/// The entry at `status` (`MyBEEntry` of its owner), if it belongs to `pid` as the server sees it. None also where the
/// server tracks no activities, or an offset is not known.
pub fn read(server: &Server, memory: &ProcessMemory, status: u64, pid: u32, text_size: usize) -> Option<Activity> {
    let (layout, fields) = (server.layout?, &server.fields);
    let count = layout.user.status_changecount;
    if status == 0 || [count, fields.status_pid, fields.status_state, fields.status_activity].contains(&ABSENT) {
        return None;
    }
    let at = |offset: u32| status + u64::from(offset);
    // As PGSTAT_BEGIN_READ_ACTIVITY (same header): an even count that is the same afterwards.
    for _ in 0..ATTEMPTS {
        let before = memory.read_u32(at(count)).ok()?;
        let owner = memory.read_u32(at(fields.status_pid)).ok()?;
        let state = memory.read_u32(at(fields.status_state)).ok()?;
        let text = memory.ptr(at(fields.status_activity)).ok()?;
        let text = memory.cstr(text, text_size.min(TEXT_MAX)).ok()?;
        if before % 2 != 0 || memory.read_u32(at(count)).ok()? != before {
            continue;
        }
        let cut = text.len() + 1 >= text_size.min(TEXT_MAX);
        return (owner == pid).then_some(Activity { state: state_of(layout, state)?, text, cut });
    }
    None
}

fn state_of(layout: &Layout, state: u32) -> Option<State> {
    [
        (layout.state_running, State::Active),
        (layout.state_fastpath, State::Active),
        (layout.state_idle, State::Idle),
        (layout.state_idle_in_transaction, State::IdleInTransaction),
        (layout.state_idle_in_transaction_aborted, State::IdleInFailedTransaction),
    ]
    .into_iter()
    .find_map(|(number, known)| (number == state).then_some(known))
}
