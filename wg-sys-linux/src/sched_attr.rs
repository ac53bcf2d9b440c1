//! What the kernel's schedulers know of the calling thread.
#![expect(unsafe_code, reason = "sched_getattr and sched_setattr, which no library has")]

use rustix::io::Errno;

use crate::sockopt::last_errno;

/// `struct sched_attr` as it was first (`SCHED_ATTR_SIZE_VER0`): what any kernel that has the call knows.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Attributes {
    pub(crate) size: u32,
    pub(crate) policy: u32,
    pub(crate) flags: u64,
    pub(crate) nice: i32,
    /// For real-time threads; 0 for others.
    pub(crate) priority: u32,
    /// For threads of the fair scheduler the length of a turn, in nanoseconds.
    pub(crate) runtime: u64,
    pub(crate) deadline: u64,
    pub(crate) period: u64,
}

const SIZE: u32 = 48;
const _: () = assert!(size_of::<Attributes>() == 48);

/// The calling thread.
const THIS: libc::pid_t = 0;
/// No flags.
const NONE: libc::c_uint = 0;

/// The policy of ordinary threads.
pub(crate) const SCHED_OTHER: u32 = 0;
/// That of real-time threads that take turns among equals.
pub(crate) const SCHED_RR: u32 = 2;

/// The attributes of the calling thread.
pub(crate) fn read() -> Result<Attributes, Errno> {
    let mut attributes = Attributes::default();
    // SAFETY: the kernel writes at most `SIZE` bytes behind the pointer, which is the size of the struct; any bytes are a valid
    // value of it.
    let failed =
        unsafe { libc::syscall(libc::SYS_sched_getattr, THIS, &raw mut attributes, SIZE, NONE) } != 0;
    if failed { Err(last_errno()) } else { Ok(attributes) }
}

/// Gives the calling thread these, and those it will make.
pub(crate) fn write(attributes: &Attributes) -> Result<(), Errno> {
    let attributes = Attributes { size: SIZE, flags: 0, deadline: 0, period: 0, ..*attributes };
    // SAFETY: the kernel reads `size` bytes behind the pointer, all of the struct, which outlives the call; 0 is the calling
    // thread.
    let failed = unsafe { libc::syscall(libc::SYS_sched_setattr, THIS, &raw const attributes, NONE) } != 0;
    if failed { Err(last_errno()) } else { Ok(()) }
}
