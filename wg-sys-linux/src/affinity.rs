//! Which processors a thread may run on.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::Error;

/// Returns the numbers of the processors that the calling thread may run on, in order.
///
/// # Errors
///
/// The machine has more of them than the set has room for (1024).
pub fn processors() -> Result<Vec<u32>, Error> {
    let set = sched_getaffinity(None).map_err(Error::during("read the processors of a thread"))?;
    let most = u32::try_from(CpuSet::MAX_CPU).unwrap_or(u32::MAX);
    Ok((0..most).filter(|number| set.is_set(*number as usize)).collect())
}

/// Lets the calling thread, and those it will make, run on one processor only.
///
/// # Errors
///
/// There is no such processor, or it is not for this process (EINVAL).
pub fn pin(processor: u32) -> Result<(), Error> {
    let error = Error::during("pin a thread to a processor");
    let number = processor as usize;
    if number >= CpuSet::MAX_CPU {
        return Err(error(rustix::io::Errno::INVAL));
    }
    let mut set = CpuSet::new();
    set.set(number);
    sched_setaffinity(None, &set).map_err(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_thread_has_one_processor_and_others_keep_theirs() {
        let all = processors().unwrap();
        assert!(all.is_sorted() && !all.is_empty());
        let last = *all.last().unwrap();
        std::thread::spawn(move || {
            pin(last).unwrap();
            assert_eq!(processors().unwrap(), [last]);
            assert_eq!(std::thread::spawn(|| processors().unwrap()).join().unwrap(), [last]);
        })
        .join()
        .unwrap();
        assert_eq!(processors().unwrap(), all);
    }

    #[test]
    fn a_processor_that_is_not_there_is_refused() {
        for number in [1023, 1024, u32::MAX] {
            let error = std::thread::spawn(move || pin(number).unwrap_err()).join().unwrap();
            assert_eq!(error.raw_os_error(), Some(22), "{number}");
        }
    }
}
