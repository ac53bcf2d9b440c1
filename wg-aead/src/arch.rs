//! The kernels that are written for an instruction set: the only unsafe code of the crate.
//!
//! Each has a token that only its detection makes; whoever holds one may call the kernel.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
