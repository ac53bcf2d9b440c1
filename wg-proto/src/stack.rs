//! The dead stack: what returned functions leave below the frame of the one that goes on.
//!
//! Types here wipe themselves when dropped, but a value that is moved leaves a copy in the frame it came from, and the
//! arithmetic of dependencies spills keys into frames that nobody wipes. Such a copy lives until a later call happens to
//! overwrite it. So whatever has computed with static, ephemeral or shared secrets ends by overwriting the stack it used:
//! once for each handshake message, never for a packet.

use core::hint::black_box;

use zeroize::Zeroize as _;

/// How far down the stack is overwritten, in bytes. In a release build for x86-64 handshakes need 8 KiB, and the ciphers below a lane of
/// `wg-datapath` leave keys as deep as 17 KiB.
#[cfg(not(target_os = "none"))]
pub const WIPED_STACK: usize = 32 << 10;
/// How far down the stack is overwritten, in bytes: no deeper than a handshake goes, as there is no stack to spare.
#[cfg(target_os = "none")]
pub const WIPED_STACK: usize = 2 << 10;

/// Does something with secrets, then overwrites [`WIPED_STACK`] bytes of the stack it used.
///
/// The result is as safe as its type: a secret in it is moved, and its old place wiped. To be called as far up as there are
/// secrets in the frames of callers, such as where a program configures keys.
pub fn with_wiped_stack<T>(work: impl FnOnce() -> T) -> T {
    let result = below(work);
    wipe_stack();
    result
}

/// Keeps the frames of `work` apart from that of the caller, who goes on with his.
#[inline(never)]
fn below<T>(work: impl FnOnce() -> T) -> T {
    work()
}

/// Overwrites [`WIPED_STACK`] bytes of the stack below the caller's frame.
#[inline(never)]
pub fn wipe_stack() {
    let mut area = [0_u64; WIPED_STACK / size_of::<u64>()];
    area.zeroize();
    black_box(&mut area);
}
