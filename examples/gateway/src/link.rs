//! What happens to the interface, as a thread of its own hears of it.
//!
//! To ask what state an interface is in is to wait for the lock of the kernel's network configuration (`rtnl_lock`), which others
//! hold for as long as they make or remove interfaces. Whoever moves packets must not wait for that, nor hold a home meanwhile.

use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::{self, JoinHandle};

use wg_sys_linux::{Error, Events, Interest, Poller, Token, TunEvent, TunEvents, Waker};

const LINK: Token = Token::new(0);
const END: Token = Token::new(1);
/// Events that wait to be looked at. The thread does not go on before there is room: only differences are told.
const WAITING: usize = 16;
const STACK: usize = 128 << 10;
const WATCH: &str = "watch the TUN interface";

/// Hears of the interface until it is dropped.
#[derive(Debug)]
pub(crate) struct LinkWatch {
    /// The state that the interface was in at the beginning.
    first: VecDeque<TunEvent>,
    /// None once nobody listens any more.
    later: Option<Receiver<TunEvent>>,
    end: Waker,
    thread: Option<JoinHandle<()>>,
}

impl LinkWatch {
    /// Begins to watch; `wake` is called by the thread behind each event.
    ///
    /// # Errors
    ///
    /// The process is out of descriptors or threads.
    pub(crate) fn start(mut link: TunEvents, wake: impl Fn() + Send + 'static) -> Result<Self, Error> {
        let first = core::iter::from_fn(|| link.next_event()).collect();
        let end = Waker::new()?;
        let mut poller = Poller::new()?;
        poller.add(&link, LINK, Interest::Readable)?;
        poller.add(&end, END, Interest::Readable)?;
        let (tell, later) = sync_channel(WAITING);
        let thread = thread::Builder::new()
            .name("link".into())
            .stack_size(STACK)
            .spawn(move || {
                if let Err(error) = watch(&mut link, &mut poller, &tell, &wake) {
                    tracing::error!("{error}");
                }
                // What is told now is that nothing more is.
                drop(tell);
                wake();
            })
            .map_err(|error| Error::new(WATCH, error))?;
        Ok(Self { first, later: Some(later), end, thread: Some(thread) })
    }

    /// The next event, if there is one.
    ///
    /// # Errors
    ///
    /// The thread has ended, which it does behind the removal of the interface, or because it could not go on.
    pub(crate) fn next_event(&mut self) -> Result<Option<TunEvent>, Error> {
        if let Some(event) = self.first.pop_front() {
            return Ok(Some(event));
        }
        match self.later.as_ref().map_or(Err(TryRecvError::Disconnected), Receiver::try_recv) {
            Ok(event) => Ok(Some(event)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(Error::new(WATCH, io::ErrorKind::BrokenPipe)),
        }
    }
}

impl Drop for LinkWatch {
    fn drop(&mut self) {
        // It may be about to tell something.
        self.later = None;
        self.end.wake();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that watches the interface panicked");
        }
    }
}

/// Tells events until it is told to end, nobody listens, or the interface is gone.
fn watch(
    link: &mut TunEvents,
    poller: &mut Poller,
    tell: &SyncSender<TunEvent>,
    wake: &impl Fn(),
) -> Result<(), Error> {
    let mut events = Events::with_capacity(2);
    loop {
        while let Some(event) = link.next_event() {
            if tell.send(event).is_err() {
                return Ok(());
            }
            wake();
            if event == TunEvent::Removed {
                return Ok(());
            }
        }
        poller.wait(&mut events, None)?;
        if events.iter().any(|event| event.token == END) {
            return Ok(());
        }
    }
}
