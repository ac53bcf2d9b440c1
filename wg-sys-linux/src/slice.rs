//! How soon a thread runs again that has something to do.
//!
//! Since Linux 6.12 a thread may ask the fair scheduler for shorter turns. It gets as much of the processor as before, and
//! waits less for each piece: what forwards packets is woken often and has little to do, while those it forwards for compute
//! on. Earlier kernels take the request and do not heed it.
#![expect(unsafe_code, reason = "sched_getattr and sched_setattr, which no library has")]

use core::time::Duration;

use rustix::io::Errno;

use crate::Error;
use crate::sockopt::last_errno;

/// `struct sched_attr` as it was first (`SCHED_ATTR_SIZE_VER0`): what any kernel that has the call knows.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Attributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    /// For threads of the fair scheduler the length of a turn, in nanoseconds.
    runtime: u64,
    deadline: u64,
    period: u64,
}

const SIZE: u32 = 48;
const _: () = assert!(size_of::<Attributes>() == 48);

/// The calling thread.
const THIS: libc::pid_t = 0;
/// No flags.
const NONE: libc::c_uint = 0;
/// The policy of ordinary threads.
const SCHED_OTHER: u32 = 0;

/// Asks for turns of this length for the calling thread and those it will make, and for this niceness, if one is given (-20 to 19,
/// the lower the more of the processor). The kernel keeps the length between 0.1 and 100 ms.
///
/// A thread that is not of the fair scheduler is left alone.
///
/// # Errors
///
/// The system forbids it (EPERM), or has no such call (ENOSYS).
pub fn request(length: Duration, nice: Option<i32>) -> Result<(), Error> {
    let error = Error::during("ask for short turns of a thread");
    let mut attributes = read().map_err(&error)?;
    if attributes.policy != SCHED_OTHER {
        return Ok(());
    }
    attributes.size = SIZE;
    attributes.nice = nice.unwrap_or(attributes.nice);
    attributes.runtime = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
    // SAFETY: the kernel reads `size` bytes behind the pointer, all of the struct, which outlives the call; 0 is the calling
    // thread.
    let failed = unsafe { libc::syscall(libc::SYS_sched_setattr, THIS, &raw const attributes, NONE) } != 0;
    if failed { Err(error(last_errno())) } else { Ok(()) }
}

/// The attributes of the calling thread.
fn read() -> Result<Attributes, Errno> {
    let mut attributes = Attributes::default();
    // SAFETY: the kernel writes at most `SIZE` bytes behind the pointer, which is the size of the struct; any bytes are a valid
    // value of it.
    let failed =
        unsafe { libc::syscall(libc::SYS_sched_getattr, THIS, &raw mut attributes, SIZE, NONE) } != 0;
    if failed { Err(last_errno()) } else { Ok(attributes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_asked_for_and_the_rest_stays() {
        std::thread::spawn(|| {
            let before = read().unwrap();
            request(Duration::from_micros(200), None).unwrap();
            assert_eq!(read().unwrap().nice, before.nice);
            request(Duration::from_micros(200), Some(7)).unwrap();
            let after = read().unwrap();
            assert_eq!((after.policy, after.nice), (before.policy, 7));
            // An older kernel says 0.
            assert!([0, 200_000].contains(&after.runtime), "{after:?}");
        })
        .join()
        .unwrap();
    }
}
