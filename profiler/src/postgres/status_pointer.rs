//! `MyBEEntry` of a stripped server of version 13: the variable is static there (src/backend/postmaster/pgstat.c), and
//! exported from 14 on.
//!
//! An exported function begins by loading it, so its address stands in the function's code. Nothing of this is believed:
//! a candidate counts only if in several live processes it leads to an entry that names that very process.

use pgstrobe_common::fields::ABSENT;

use super::{binary::Binary, layout::Layout, memory::ProcessMemory};

/// `beentry = MyBEEntry` is the first thing it does.
const FUNCTION: &str = "pgstat_report_activity";
/// How much of the function is looked at, in bytes.
const CODE: usize = 256;
/// Processes that must agree. Every server has more: checkpointer, background writer and walwriter have entries too.
const WITNESSES: usize = 2;

/// The address in the running processes; `processes` are the server's children, by their pid on this host and their own.
pub fn find(binary: &Binary, base: u64, layout: &Layout, processes: &[(u32, u32)]) -> Option<u64> {
    let function = binary.symbol(FUNCTION)?;
    let code = binary.code_at(function.address, CODE).ok()?;
    let memories: Vec<_> =
        processes.iter().filter_map(|&(pid, own)| Some((ProcessMemory::open(pid).ok()?, own))).collect();
    let leads = |variable: u64| {
        let mut agree = 0;
        for (memory, own) in &memories {
            match leads_to_itself(memory, *own, variable, layout.fields.status_pid) {
                Some(true) => agree += 1,
                Some(false) => return false,
                None => {}
            }
        }
        agree >= WITNESSES
    };
    let mut found: Vec<u64> = loads(&code, base + function.address).into_iter().filter(|at| leads(*at)).collect();
    found.sort_unstable();
    found.dedup();
    match found[..] {
        [only] => Some(only),
        _ => None,
    }
}

/// Whether a pointer leads to an entry of the process; none where it is NULL, as before start-up.
fn leads_to_itself(memory: &ProcessMemory, own: u32, variable: u64, status_pid: u32) -> Option<bool> {
    let Ok(entry) = memory.ptr(variable) else { return Some(false) };
    if entry == 0 || status_pid == ABSENT {
        return None;
    }
    let pid = entry.checked_add(status_pid.into()).and_then(|at| memory.read_u32(at).ok());
    Some(pid == Some(own))
}

/// Addresses that code at `address` loads a 64-bit register from: `mov REG, [RIP + DISP]` of x86-64, which is
/// REX.W, 8B, a ModRM byte of mode 00 and base 101, and the displacement from the next instruction.
fn loads(code: &[u8], address: u64) -> Vec<u64> {
    const LENGTH: usize = 7;
    code.windows(LENGTH)
        .enumerate()
        .filter_map(|(at, bytes)| {
            let displacement = i32::from_le_bytes(*bytes.last_chunk()?);
            let matches = bytes[0] & 0xF8 == 0x48 && bytes[1] == 0x8B && bytes[2] & 0xC7 == 0x05;
            matches.then(|| address.wrapping_add((at + LENGTH) as u64).wrapping_add_signed(displacement.into()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_of_registers_are_found() {
        // The beginning of the function in a server of Debian's: push %rbx, sub $8,%rsp, mov 0x4273a8(%rip),%rbx, nop.
        let code = [0x53, 0x48, 0x83, 0xec, 0x08, 0x48, 0x8b, 0x1d, 0xa8, 0x73, 0x42, 0x00, 0x90];
        assert_eq!(loads(&code, 0x3a_4e3c), [0x7c_c1f0]);
        // A negative displacement, and a register of the second eight.
        let code = [0x4c, 0x8b, 0x05, 0xf9, 0xff, 0xff, 0xff];
        assert_eq!(loads(&code, 0x1000), [0x1000]);
        // Not: 32 bits, from the stack, cut short.
        for code in [&[0x8b, 0x05, 1, 0, 0, 0, 0][..], &[0x48, 0x8b, 0x45, 8, 0, 0, 0], &[0x48, 0x8b, 0x1d, 1, 2, 3]] {
            assert!(loads(code, 0).is_empty(), "{code:x?}");
        }
    }

    #[test]
    fn a_candidate_must_name_its_process() {
        let own = std::process::id();
        let memory = ProcessMemory::open(own).unwrap();
        let entry = [0u32, own];
        let (pointer, null) = (&raw const entry as u64, 0u64);
        let at = |variable: &u64| std::ptr::from_ref(variable) as u64;
        assert_eq!(leads_to_itself(&memory, own, at(&pointer), 4), Some(true));
        assert_eq!(leads_to_itself(&memory, own, at(&pointer), 0), Some(false));
        assert_eq!(leads_to_itself(&memory, own, at(&null), 4), None);
        assert_eq!(leads_to_itself(&memory, own, 8, 4), Some(false));
    }
}
