//! Whether a server that is found is the one that was there before: a postmaster that comes back has another pid.

use super::Cluster;

/// What a server that was found is to one whose postmaster ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kinship {
    /// The same cluster, perhaps of another version.
    Same,
    /// Another one, on its port or in the place of its data directory, started since.
    InPlace,
    None,
}

/// Now, as starts of processes are counted: clock ticks (`USER_HZ`, 100 a second) of `CLOCK_BOOTTIME`.
pub fn now_ticks() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid pointer to a local.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &mut time) };
    time.tv_sec as u64 * 100 + time.tv_nsec as u64 / 10_000_000
}

/// How much earlier than the end was noticed a successor may have started, in ticks: an end is noticed at the next look.
const NOTICED_LATE: u64 = 50;

/// What `found` is to `gone`, whose end was noticed at `ended_ticks` ([`now_ticks`]).
///
/// A restarted container may show its data directory as another device; then system identifier, path and port together
/// must be the same, and it must have started since: another container may have had all of them all along.
pub fn kinship(gone: &Cluster, ended_ticks: u64, found: &Cluster) -> Kinship {
    let since = found.start_time_ticks + NOTICED_LATE >= ended_ticks;
    let key = |cluster: &Cluster| (cluster.system_identifier, cluster.data_directory.clone(), cluster.port);
    if found.data_directory_id == gone.data_directory_id
        || since && found.system_identifier.is_some() && key(found) == key(gone)
    {
        return Kinship::Same;
    }
    let in_place = found.port.is_some() && found.port == gone.port || found.data_directory == gone.data_directory;
    if since && in_place { Kinship::InPlace } else { Kinship::None }
}
