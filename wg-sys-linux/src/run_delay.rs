//! How long a thread waited for a processor: `/proc/PID/task/TID/schedstat`.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use crate::Error;

const OPERATION: &str = "read how long a thread waited for a processor";

/// What the kernel says of a thread, which any other may ask it.
#[derive(Debug)]
pub struct RunDelay(File);

impl RunDelay {
    /// That of the calling thread.
    ///
    /// # Errors
    ///
    /// There is no `/proc`, or the kernel does not count this (`CONFIG_SCHED_INFO`).
    pub fn of_this_thread() -> Result<Self, Error> {
        File::open("/proc/thread-self/schedstat").map(Self).map_err(Error::during(OPERATION))
    }

    /// How many nanoseconds the thread waited since it began, while it could have run. What its group had to wait for as it had used up its
    /// share of time (`cpu.max`) counts, too. Nothing, if it did not run yet as far as the kernel counts that.
    ///
    /// # Errors
    ///
    /// The thread has ended (ESRCH), or the kernel answers something else than it documents.
    pub fn nanos(&self) -> Result<Option<u64>, Error> {
        let mut text = [0; 80];
        let len = self.0.read_at(&mut text, 0).map_err(Error::during(OPERATION))?;
        let text = text.get(..len).unwrap_or_default();
        parse(text).ok_or_else(|| Error::new(OPERATION, std::io::ErrorKind::InvalidData))
    }
}

/// Nanoseconds on a processor, nanoseconds of waiting, and how often it had its turn. A kernel that does not count says `0 0 0`.
fn parse(text: &[u8]) -> Option<Option<u64>> {
    let mut numbers = core::str::from_utf8(text).ok()?.split_ascii_whitespace().map(str::parse::<u64>);
    let (ran, waited) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    Some((ran > 0).then_some(waited))
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::{AtomicBool, Ordering};
    use core::time::Duration;
    use std::thread;
    use std::time::Instant;

    use super::*;
    use crate::affinity;

    #[test]
    fn three_numbers_are_read_and_all_else_is_refused() {
        assert_eq!(parse(b"90717 1350439 2\n"), Some(Some(1_350_439)));
        assert_eq!(parse(b"0 0 0\n"), Some(None), "nothing is counted");
        assert_eq!(parse(b"5 0 1\n"), Some(Some(0)));
        for text in ["", "\n", "7\n", "7 x 1\n", "-1 5 1\n", "1 99999999999999999999 1\n"] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn one_of_two_threads_of_a_processor_waits_for_the_other() {
        let last = *affinity::processors().unwrap().last().unwrap();
        let ends = AtomicBool::new(false);
        let spin = || {
            affinity::pin(last).unwrap();
            let delay = RunDelay::of_this_thread().unwrap();
            let begun = Instant::now();
            while !ends.load(Ordering::Relaxed) && begun.elapsed() < Duration::from_secs(20) {
                core::hint::spin_loop();
                // Both, sooner or later, whatever else runs.
                if delay.nanos().unwrap().is_some_and(|nanos| nanos > 1_000_000) {
                    ends.store(true, Ordering::Relaxed);
                }
            }
            delay
        };
        thread::scope(|scope| {
            let threads = [(); 2].map(|()| scope.spawn(spin));
            let delays = threads.map(|thread| thread.join().unwrap());
            assert!(ends.load(Ordering::Relaxed), "nobody waited in 20 s");
            for delay in delays {
                assert_eq!(delay.nanos().unwrap_err().raw_os_error(), Some(3), "the thread has ended");
            }
        });
    }
}
