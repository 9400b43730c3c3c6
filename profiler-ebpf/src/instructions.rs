//! Single instructions that the language does not give.

use crate::globals;

/// Adds to what all CPUs share. The language's own atomic types have no addition for this target, because its first
/// processors have none that returns the value; one that does not is in every kernel.
#[inline(always)]
pub fn add(to: &u64, n: u64) {
    // SAFETY: an aligned field of a map's value, which others change too; the instruction touches nothing else.
    unsafe {
        core::arch::asm!("lock *(u64 *)({to} + 0) += {n}", to = in(reg) to, n = in(reg) n, options(nostack));
    }
}

/// Words of a value that is made of nothing else.
const fn words<T>() -> usize {
    assert!(size_of::<T>().is_multiple_of(8));
    size_of::<T>() / 8
}

/// Sets a value to zeros, which must be a value of its type. An assignment calls a `memset` that does so byte by byte, even
/// where it is of two neighbouring words: half a nanosecond a byte.
///
/// # Safety
/// It is valid and lies at a multiple of eight, and all zeros are a value of `T`.
#[inline(always)]
pub unsafe fn clear<T>(value: *mut T) {
    for i in 0..const { words::<T>() } {
        // SAFETY: within the value. Volatile, so that the compiler makes no `memset` of it.
        unsafe { value.cast::<u64>().add(i).write_volatile(0) };
    }
}

/// Copies a value as [`clear`] clears it.
///
/// # Safety
/// Both are valid, lie at multiples of eight, and do not overlap.
#[inline(always)]
pub unsafe fn copy<T: Copy>(to: *mut T, from: *const T) {
    for i in 0..const { words::<T>() } {
        // SAFETY: within the values.
        unsafe { to.cast::<u64>().add(i).write_volatile(from.cast::<u64>().add(i).read_volatile()) };
    }
}

/// A value below a power of two, in a form the verifier sees and the compiler does not take away.
#[inline(always)]
pub fn below<const END: i32>(value: u32) -> usize {
    let mut value = value as u64;
    // SAFETY: registers only.
    unsafe {
        core::arch::asm!("{value} &= {mask}", value = inout(reg) value, mask = const END - 1, options(nomem, nostack))
    };
    value as usize
}

/// The same value, which the verifier no longer knows, so that it does not look at what follows once more for each: `any` is
/// one that it does not know, as what was read from a map.
#[inline(always)]
pub fn forgotten(value: usize, any: u64) -> usize {
    let mut value = value as u64;
    // SAFETY: registers only.
    unsafe {
        core::arch::asm!(
            "{value} ^= {any}", "{value} ^= {any}", value = inout(reg) value, any = in(reg) any, options(nomem, nostack)
        )
    };
    value as usize
}

/// The first or the second argument of a `tp_btf` program. Up to 5.10 the verifier refuses a context with an offset that was
/// added before the load, which is what the compiler makes of a choice between two loads.
#[inline(always)]
pub fn argument(ctx: *const core::ffi::c_void, second: bool) -> *const u8 {
    let value: u64;
    // SAFETY: within the context, by the number of arguments that the kernel's types tell.
    unsafe {
        if second {
            core::arch::asm!("{value} = *(u64 *)({ctx} + 8)", value = out(reg) value, ctx = in(reg) ctx, options(nostack));
        } else {
            core::arch::asm!("{value} = *(u64 *)({ctx} + 0)", value = out(reg) value, ctx = in(reg) ctx, options(nostack));
        }
    }
    value as *const u8
}

/// A number that is the same for the same address, and different for different ones. The verifier allows no arithmetic on
/// an address of the kernel but its difference to another one.
#[inline(always)]
#[allow(clippy::pointers_in_nomem_asm_block, reason = "only the difference of two addresses; nothing is read")]
pub fn number_of(address: *const u8) -> u64 {
    let mut number = address as u64;
    let other: *const pgstrobe_common::state::Settings = globals::settings();
    // SAFETY: registers only.
    unsafe {
        core::arch::asm!("{number} -= {other}", number = inout(reg) number, other = in(reg) other, options(nomem, nostack))
    };
    number
}
