//! The kernels that are written for an instruction set: the only unsafe code of the crate.
//!
//! Each has a token that only its detection makes; whoever holds one may call the kernel. What every machine of a target has
//! is not detected: the kernel is compiled, or it is not.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(all(target_arch = "aarch64", target_endian = "little", target_feature = "neon"))]
pub(crate) mod neon;
#[cfg(all(any(target_arch = "x86", target_arch = "x86_64"), target_feature = "sse2"))]
pub(crate) mod sse2;
