//! The threads that move packets, where there are several: each with a home, a queue of the TUN, and a pair of sockets.

use core::time::Duration;
use std::panic::resume_unwind;
use std::thread;

use wg_sched::{CoreId, StrategyKind};
use wg_sys_linux::{Error, Events, Interest, Poller, Token, Waker, affinity, clock, slice};

use crate::home::{Next, TUN, Turns};
use crate::homes::Homes;

const BELL: Token = Token::new(2);
/// How long a thread that moves packets has its turn where others want the processor, too: the shortest there is.
const SHORT_TURN: Duration = Duration::from_micros(100);

/// How the threads are to run.
#[derive(Clone, Debug)]
pub(crate) struct Placement {
    pub(crate) strategy: StrategyKind,
    /// The core of each lane.
    pub(crate) cores: Vec<CoreId>,
    /// Whether its thread may run there only.
    pub(crate) pin: bool,
    /// The niceness of its thread.
    pub(crate) nice: i32,
}

impl Placement {
    /// The core of a lane.
    pub(crate) fn core(&self, lane: usize) -> CoreId {
        self.cores.get(lane).copied().unwrap_or(CoreId(0))
    }

    /// Lets the calling thread move packets: soon when there are some, and on the core of a lane if that is wanted.
    pub(crate) fn settle(&self, lane: usize) {
        // To be nicer than others takes a capability; short turns do not.
        let asked = slice::request(SHORT_TURN, Some(self.nice)).or_else(|_| slice::request(SHORT_TURN, None));
        if let Err(error) = asked {
            tracing::debug!("lane {lane}: {error}");
        }
        let CoreId(core) = self.core(lane);
        if self.pin
            && let Err(error) = affinity::pin(core)
        {
            tracing::warn!("lane {lane}: {error}");
        }
    }
}

/// Runs `control` on this thread, and a thread for each home beside it until `control` returns. When one of them ends before,
/// it rings `bell`.
pub(crate) fn run_beside<T>(
    homes: &Homes,
    placement: &Placement,
    bell: &Waker,
    control: impl FnOnce() -> Result<T, Error>,
) -> Result<T, Error> {
    thread::scope(|scope| {
        let _end = EndOnDrop { homes, bell };
        let mut lanes = Vec::with_capacity(homes.count());
        for lane in 0..homes.count() {
            let run = move || {
                let _end = EndOnDrop { homes, bell };
                run(homes, placement, lane)
            };
            let started = thread::Builder::new().name(format!("lane{lane}")).spawn_scoped(scope, run);
            lanes.push(started.map_err(|error| Error::new("start a thread", error))?);
        }
        let result = control();
        homes.end();
        for lane in lanes {
            lane.join().unwrap_or_else(|panicked| resume_unwind(panicked))?;
        }
        result
    })
}

/// Ends everything, also when its thread panics.
struct EndOnDrop<'a> {
    homes: &'a Homes,
    bell: &'a Waker,
}

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.homes.end();
        self.bell.wake();
    }
}

fn run(homes: &Homes, placement: &Placement, lane: usize) -> Result<(), Error> {
    let mut poller = Poller::new()?;
    let mut events = Events::with_capacity(8);
    let Some(bell) = homes.bell(lane) else { return Ok(()) };
    poller.add(bell, BELL, Interest::Readable)?;
    let Some(mut turns) =
        homes.enter(lane).map(|home| Turns::new(placement, lane, &home, &poller)).transpose()?
    else {
        return Ok(());
    };
    loop {
        let Some(mut home) = homes.enter(lane) else { return Ok(()) };
        for event in events.iter() {
            match event.token {
                TUN if event.closed => return Ok(()),
                // Before the turn looks at what it was rung for.
                BELL => {
                    bell.clear();
                }
                _ => home.see(event),
            }
        }
        if homes.is_ending() {
            return Ok(());
        }
        let next = turns.take(&mut home, &poller)?;
        drop(home);
        let deadline = match next {
            Next::Now => Some(clock::now()),
            Next::At(deadline) => deadline,
            Next::Gone => return Ok(()),
        };
        poller.wait(&mut events, deadline)?;
    }
}
