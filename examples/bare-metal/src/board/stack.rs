//! How deep the stack ever was: `startup.rs` paints all of it, and what is still painted was never used.
#![expect(unsafe_code, reason = "reads memory below the stack pointer")]

/// What unused stack is painted with.
pub(crate) const PAINT: u32 = 0x5afe_57ac;

unsafe extern "C" {
    static __stack_low: u32;
    static __stack_top: u32;
}

/// The bytes there are for the stack.
pub(crate) fn size() -> usize {
    (&raw const __stack_top).addr().saturating_sub((&raw const __stack_low).addr())
}

/// Paints what is below the caller's frame anew, so that [`deepest`] tells what was used from now on.
#[inline(never)]
pub(crate) fn paint() {
    let marker = 0_u32;
    // Not the frame of this function, nor what it calls.
    let end = (&raw const marker).addr().saturating_sub((&raw const __stack_low).addr()).saturating_sub(256);
    for word in 0..end / size_of::<u32>() {
        // SAFETY: the address lies between the lower end of the stack and the stack pointer.
        let address = unsafe { (&raw const __stack_low).cast_mut().add(word) };
        // SAFETY: below the stack pointer there is no value of anyone; an interrupt has come and gone in between.
        unsafe { address.write_volatile(PAINT) }
    }
}

/// The bytes the stack ever had, or has had since it was painted.
pub(crate) fn deepest() -> usize {
    let words = size() / size_of::<u32>();
    let painted = (0..words).take_while(|word| {
        // SAFETY: the address lies between the two ends of the stack.
        let address = unsafe { (&raw const __stack_low).add(*word) };
        // SAFETY: the memory is there, aligned, and painted since the start; volatile, as it may be in use.
        unsafe { address.read_volatile() == PAINT }
    });
    size().saturating_sub(painted.count().saturating_mul(size_of::<u32>()))
}
