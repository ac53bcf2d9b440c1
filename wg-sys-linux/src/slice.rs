//! How soon a thread runs again that has something to do.
//!
//! Since Linux 6.12 a thread may ask the fair scheduler for shorter turns. It gets as much of the processor as before, and
//! waits less for each piece: what forwards packets is woken often and has little to do, while those it forwards for compute
//! on. Earlier kernels take the request and do not heed it.

use core::time::Duration;

use crate::Error;
use crate::sched_attr::{SCHED_OTHER, read, write};

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
    attributes.nice = nice.unwrap_or(attributes.nice);
    attributes.runtime = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
    write(&attributes).map_err(error)
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
