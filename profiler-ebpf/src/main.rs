//! The eBPF side of pgstrobe: an index of its parts.
//!
//! Hooks live in `hooks/`, one file a hook or family of hooks; they find the backend ([`targets`]), and hand it to the
//! statement boundary ([`statement`]), the ledger ([`ledger`]) or the topics that read along. What differs between servers is
//! asked of [`clusters`]. Foreign memory is read only by [`kernel`] and [`postgres`].
#![no_std]
#![no_main]
// For instructions that are not in the language: see `instructions`.
#![feature(asm_experimental_arch)]

mod aio;
mod block;
mod checkpoint;
mod clusters;
mod emit;
mod faults;
mod files;
mod globals;
mod hooks;
mod instructions;
mod kernel;
mod ledger;
mod pause;
mod postgres;
mod ready;
mod reclaim;
mod stacks;
mod statement;
mod sync;
mod targets;
mod wake;

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // No program here can panic: the verifier would refuse the call.
    loop {}
}

/// The kernel's tracing helpers are for GPL-compatible programs.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
