//! The queue behind a writer that the kernel made wait: it holds the lock of the file (`i_rwsem`) meanwhile, and who writes
//! to the same file waits for that.

use super::time::{Cost, caused, cost, waits};
use crate::report::model::{LedgerPart, Report};
use crate::vocabulary::Cause;

/// What a writer that holds the lock may wait for.
const HOLDERS: [Cause; 4] = [Cause::DirtyThrottle, Cause::WritebackWait, Cause::Journal, Cause::BlockWrite];

/// Waits for the lock of a file, to write to it.
pub fn is_queue(part: &LedgerPart) -> bool {
    let name = part.wait_event.as_deref().unwrap_or_default().to_ascii_lowercase();
    caused(part, &[Cause::FilesystemLock])
        && waits(part, "IO", "")
        && (name.ends_with("write") || name.ends_with("extend"))
}

/// The queue, if most of its holders' time has this cause.
pub fn queue(report: &Report, cause: Cause) -> Cost {
    let time = |of: Cause| cost(report, |part| caused(part, &[of])).ns;
    let own = time(cause);
    if own > 0 && HOLDERS.iter().all(|other| time(*other) <= own) { cost(report, is_queue) } else { Cost::default() }
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    #[test]
    fn the_queue_belongs_to_the_largest_cause() {
        let report = testing::caused(
            100,
            &[
                ("IO:DataFileWrite", "filesystem_lock", 900),
                ("IO:DataFileRead", "filesystem_lock", 50),
                ("IO:DataFileWrite", "writeback_wait", 300),
                ("IO:DataFileExtend", "dirty_throttle", 200),
            ],
        );
        assert_eq!(queue(&report, Cause::WritebackWait).ns, 900_000_000);
        assert_eq!(queue(&report, Cause::DirtyThrottle).ns, 0);
        assert_eq!(queue(&report, Cause::BlockWrite).ns, 0);
    }
}
