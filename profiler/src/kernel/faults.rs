//! How many page faults a process has had, as the kernel shows it.

use pgstrobe_common::faults::Faults;

/// Those of a process so far; none where it is gone.
pub fn of(pid: u32) -> Option<Faults> {
    parse(&std::fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// `minflt` and `majflt` of `/proc/PID/stat`, the 10th and 12th field (proc(5)). The 2nd is a name in parentheses, in which
/// anything may be.
fn parse(stat: &[u8]) -> Option<Faults> {
    let end_of_name = stat.iter().rposition(|byte| *byte == b')')?;
    let mut rest = stat[end_of_name + 1..].split(|byte| byte.is_ascii_whitespace()).filter(|field| !field.is_empty());
    let number = |field: &[u8]| std::str::from_utf8(field).ok()?.parse().ok();
    let minor = number(rest.nth(10 - 3)?)?;
    let major = number(rest.nth(1)?)?;
    Some(Faults { minor, major })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_from_the_end_of_the_name() {
        let stat = b"7 (postgres: a ) b) S 1 7 7 0 -1 4194560 1234 99 56 8 10 20 0 0\n";
        assert_eq!(parse(stat), Some(Faults { minor: 1234, major: 56 }));
        assert_eq!(parse(b"7 (x) S 1"), None);
        assert_eq!(parse(b""), None);
    }

    #[test]
    fn touched_memory_is_a_minor_fault() {
        let before = of(std::process::id()).expect("this process");
        // More than an allocator keeps for itself.
        let touched = vec![1u8; 64 << 20];
        let after = of(std::process::id()).expect("this process");
        assert!(touched[4095] == 1 && after.since(before).minor > 0, "{before:?} {after:?}");
    }
}
