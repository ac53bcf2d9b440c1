//! A register of a device at its address.
#![expect(unsafe_code, reason = "devices are memory that changes by itself")]

/// A register of 32 bits.
#[derive(Clone, Copy)]
pub(crate) struct Register(usize);

impl Register {
    /// Names the register at `address`.
    ///
    /// # Safety
    ///
    /// There is one on this board, and neither reading nor writing it touches memory that Rust uses.
    pub(crate) const unsafe fn at(address: usize) -> Self {
        Self(address)
    }

    pub(crate) fn read(self) -> u32 {
        // SAFETY: whoever made this value promised that a register is there.
        unsafe { core::ptr::with_exposed_provenance::<u32>(self.0).read_volatile() }
    }

    pub(crate) fn write(self, value: u32) {
        // SAFETY: whoever made this value promised that a register is there.
        unsafe { core::ptr::with_exposed_provenance_mut::<u32>(self.0).write_volatile(value) }
    }
}
