//! The socket side: one thread that accepts, one thread for each client, and the queue to the data lane.
//!
//! Rules (U12, U17):
//!
//! - A client's bytes are read, and its reply is written, by its own thread. The data lane only sees whole requests.
//! - The data lane never waits for a client: an answer goes into a channel that always has room for it.
//! - There are at most [`Limits::clients`] clients. One more takes the place of the one that has been quiet longest,
//!   so that forgotten connections cannot lock others out. A client whose request is with the data lane keeps its place.
//! - From the first byte of a request to its last there is [`Limits::patience`], and the same again for its reply.
//!   A request that takes longer is dropped, and not one line of it is applied.
//! - A client that hangs up in the middle of a set has its complete lines applied (U9); one that is cut off by us not.
//!
//! [`Server`] belongs to the data lane, which calls [`Server::serve`] when it was woken. Dropping it closes the listener
//! and every client and waits for their threads.

use core::time::Duration;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use tracing::{debug, error, warn};
use wg_proto::with_wiped_stack;
use zeroize::Zeroizing;

use super::trouble::Trouble;
use super::{Configure, Errno, Op, Parsed, Parser, Request, Snapshot, Step, Transaction, reply};

/// Read from a client at once.
const READ_LEN: usize = 16 * 1024;
/// The stack of a client's thread, whatever the size of the request.
const CLIENT_STACK: usize = 256 * 1024;
/// The lines of a set that are applied between two looks at the budget.
const SLICE: usize = 64;
/// The pause after a failed accept, so that a lack of file descriptors does not become a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Bounds on what clients can take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Clients connected at once.
    pub clients: usize,
    /// The time for one request to arrive whole, and for its reply to be taken.
    pub patience: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { clients: 16, patience: Duration::from_secs(30) }
    }
}

/// Whether there is more to serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// No request waits; the next wake-up will tell.
    Idle,
    /// The budget is used up: serve again soon.
    More,
}

/// A whole request on its way to the data lane, with the way back for the answer.
enum Command {
    Get { answer: SyncSender<Snapshot> },
    Set { ops: Vec<Op>, outcome: Result<(), Errno>, answer: SyncSender<Result<(), Errno>> },
}

/// The set under way.
struct Running<P> {
    transaction: Transaction<P>,
    answer: SyncSender<Result<(), Errno>>,
}

/// The configuration server of one device. `P` is the peer handle of the device it configures.
pub struct Server<P> {
    /// `None` once the server is closing, which tells every waiting client.
    commands: Option<Receiver<Command>>,
    running: Option<Running<P>>,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl<P> core::fmt::Debug for Server<P> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Server").field("running", &self.running.is_some()).finish_non_exhaustive()
    }
}

impl<P: Copy> Server<P> {
    /// Starts to accept the clients of a listening Unix socket, which from now on blocks. `wake` is called, from any
    /// thread, after each request that is put in the queue.
    ///
    /// The descriptor is duplicated; the socket stops listening when the server is dropped.
    ///
    /// # Errors
    ///
    /// The socket cannot be used, or the thread cannot be made.
    pub fn start<W>(socket: &impl AsFd, limits: Limits, wake: W) -> io::Result<Self>
    where
        W: Fn() + Send + Sync + 'static,
    {
        let listener = UnixListener::from(socket.as_fd().try_clone_to_owned()?);
        listener.set_nonblocking(false)?;
        let stopper = UnixStream::from(OwnedFd::from(listener.try_clone()?));
        // A client has at most one request in the queue, so a send never waits.
        let (commands, receiver) = sync_channel(limits.clients.max(1));
        let shared = Arc::new(Shared { stopper, limits, clients: Mutex::new(Clients::default()) });
        let link = Link { commands, wake: Arc::new(wake), shared: Arc::clone(&shared) };
        let acceptor = thread::Builder::new()
            .name("uapi".into())
            .stack_size(CLIENT_STACK)
            .spawn(move || accept_loop(&listener, &link))?;
        Ok(Self { commands: Some(receiver), running: None, shared, acceptor: Some(acceptor) })
    }

    /// Serves the requests in the queue, in order, until about `budget` lines of sets are applied or nothing is left.
    ///
    /// Lines are counted in groups of 64, and a get as one group.
    pub fn serve<C: Configure<Peer = P>>(&mut self, device: &mut C, budget: usize) -> Progress {
        let Some(commands) = &self.commands else { return Progress::Idle };
        for _ in 0..budget.div_ceil(SLICE) {
            if let Some(running) = &mut self.running {
                if let Some(answer) = with_wiped_stack(|| running.transaction.run(device, SLICE)) {
                    // A client that has gone misses its answer.
                    let _ = running.answer.try_send(answer);
                    self.running = None;
                }
                continue;
            }
            match commands.try_recv() {
                Ok(Command::Get { answer }) => {
                    let _ = with_wiped_stack(|| answer.try_send(device.snapshot()));
                }
                Ok(Command::Set { ops, outcome, answer }) => {
                    self.running = Some(Running { transaction: Transaction::new(ops, outcome), answer });
                }
                Err(_) => return Progress::Idle,
            }
        }
        Progress::More
    }
}

impl<P> Drop for Server<P> {
    fn drop(&mut self) {
        // First the queue: a client that waits for an answer learns that none will come.
        self.commands = None;
        self.running = None;
        self.shared.close();
        // The acceptor first: it may be about to start one more client. A thread that panicked has been reported.
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        for worker in self.shared.take_workers() {
            let _ = worker.join();
        }
    }
}

/// What the server and its threads share.
struct Shared {
    /// The listener's socket, only to shut it down: that ends a waiting accept.
    stopper: UnixStream,
    limits: Limits,
    clients: Mutex<Clients>,
}

/// The connections, by the order they came in.
#[derive(Default)]
struct Clients {
    closing: bool,
    next_id: u64,
    connected: BTreeMap<u64, Client>,
    /// Threads to wait for at the end, without those known to have ended.
    workers: BTreeMap<u64, JoinHandle<()>>,
}

struct Client {
    stream: Arc<UnixStream>,
    /// When it connected or was last given a reply.
    quiet_since: Instant,
    /// Its request is with the data lane.
    is_served: bool,
}

impl Client {
    /// Ends the connection; the thread finds out by itself.
    fn cut_off(&self) {
        // Fails only if the client has hung up already.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

impl Shared {
    fn clients(&self) -> MutexGuard<'_, Clients> {
        // Every change under this lock is complete at each step: a panic elsewhere does not spoil it.
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finds a place for a client, at the cost of the quietest one if all are taken.
    fn admit(&self, stream: UnixStream) -> Option<(u64, Arc<UnixStream>)> {
        let mut clients = self.clients();
        if clients.closing {
            return None;
        }
        if clients.connected.len() >= self.limits.clients.max(1) {
            let quiet = clients.connected.iter().filter(|(_, client)| !client.is_served);
            let id = *quiet.min_by_key(|(_, client)| client.quiet_since)?.0;
            if let Some(client) = clients.connected.remove(&id) {
                debug!("UAPI: too many clients, closing the quietest");
                client.cut_off();
            }
        }
        let id = clients.next_id;
        clients.next_id += 1;
        let stream = Arc::new(stream);
        let client = Client { stream: Arc::clone(&stream), quiet_since: Instant::now(), is_served: false };
        clients.connected.insert(id, client);
        Some((id, stream))
    }

    fn keep_worker(&self, id: u64, worker: JoinHandle<()>) {
        let mut clients = self.clients();
        clients.workers.retain(|_, worker| !worker.is_finished());
        clients.workers.insert(id, worker);
    }

    /// Keeps the place of a client while the data lane has its request; `false` if it was taken already.
    fn begin_service(&self, id: u64) -> bool {
        match self.clients().connected.get_mut(&id) {
            Some(client) => {
                client.is_served = true;
                true
            }
            None => false,
        }
    }

    fn end_service(&self, id: u64) {
        if let Some(client) = self.clients().connected.get_mut(&id) {
            client.is_served = false;
            client.quiet_since = Instant::now();
        }
    }

    fn leave(&self, id: u64) {
        self.clients().connected.remove(&id);
    }

    /// Stops the listener and all clients.
    fn close(&self) {
        let mut clients = self.clients();
        clients.closing = true;
        // Fails only if the socket is not listening any more.
        let _ = self.stopper.shutdown(Shutdown::Both);
        for client in clients.connected.values() {
            client.cut_off();
        }
    }

    fn take_workers(&self) -> impl Iterator<Item = JoinHandle<()>> {
        core::mem::take(&mut self.clients().workers).into_values()
    }
}

/// A thread's way to the data lane.
#[derive(Clone)]
struct Link {
    commands: SyncSender<Command>,
    wake: Arc<dyn Fn() + Send + Sync>,
    shared: Arc<Shared>,
}

fn accept_loop(listener: &UnixListener, link: &Link) {
    let mut trouble = Trouble::default();
    let say = |said: Option<String>| said.into_iter().for_each(|words| error!("UAPI: {words}"));
    loop {
        let accepted = listener.accept();
        if link.shared.clients().closing {
            return;
        }
        match accepted {
            Ok((stream, _)) => match start_client(stream, link) {
                Ok(()) => trouble.over().into_iter().for_each(|words| warn!("UAPI: {words}")),
                Err(err) => say(trouble.failed("no thread for a client", &err)),
            },
            Err(err) if err.kind() == ErrorKind::Interrupted => {}
            Err(err) => {
                say(trouble.failed("accept failed", &err));
                thread::sleep(ACCEPT_PAUSE);
            }
        }
    }
}

fn start_client(stream: UnixStream, link: &Link) -> io::Result<()> {
    let Some((id, stream)) = link.shared.admit(stream) else {
        debug!("UAPI: all clients are being served, refusing one more");
        return Ok(());
    };
    let client_link = link.clone();
    let spawned =
        thread::Builder::new().name("uapi-client".into()).stack_size(CLIENT_STACK).spawn(move || {
            if let Err(err) = serve_client(id, &stream, &client_link) {
                debug!("UAPI: client closed: {err}");
            }
            client_link.shared.leave(id);
        });
    match spawned {
        Ok(worker) => {
            link.shared.keep_worker(id, worker);
            Ok(())
        }
        Err(err) => {
            link.shared.leave(id);
            Err(err)
        }
    }
}

/// Serves one client until it hangs up, is cut off, or speaks something else.
fn serve_client(id: u64, stream: &UnixStream, link: &Link) -> io::Result<()> {
    let patience = link.shared.limits.patience;
    let mut parser = Parser::new();
    let mut buffer = Zeroizing::new(vec![0; READ_LEN]);
    // Set while a request is coming in; between requests a client may be quiet as long as its place is not needed.
    let mut deadline = None;
    loop {
        let ended = match read(stream, &mut buffer, deadline) {
            Ok(0) => Some(Ok(())),
            Ok(len) => {
                let mut rest = buffer.get(..len).unwrap_or_default();
                while !rest.is_empty() {
                    let (used, step) = with_wiped_stack(|| parser.feed(rest));
                    rest = rest.get(used..).unwrap_or_default();
                    match step {
                        Step::NeedMore => {}
                        Step::Request(parsed) => {
                            with_wiped_stack(|| answer(id, parsed, stream, link))?;
                            deadline = None;
                        }
                        Step::Close => {
                            error!("UAPI: invalid operation");
                            return Ok(());
                        }
                    }
                }
                None
            }
            Err(err) if err.kind() == ErrorKind::ConnectionReset => Some(Err(Errno::IO)),
            Err(err) => return Err(err),
        };
        if let Some(ended) = ended {
            // If it was not the client who ended the stream, its place is gone and the request is refused.
            return match parser.finish() {
                Some(Parsed { request, outcome }) => {
                    answer(id, Parsed { request, outcome: outcome.and(ended) }, stream, link)
                }
                None => Ok(()),
            };
        }
        deadline = if parser.is_idle() { None } else { deadline.or_else(|| Some(Instant::now() + patience)) };
    }
}

/// Has a request served and writes the reply.
fn answer(id: u64, parsed: Parsed, stream: &UnixStream, link: &Link) -> io::Result<()> {
    let written = match parsed.request {
        Request::Get => {
            let snapshot = match parsed.outcome {
                Ok(()) => Ok(ask(id, link, |answer| Command::Get { answer })?),
                Err(errno) => Err(errno),
            };
            reply::write_get(&mut Patient::new(stream, link), snapshot.as_ref().map_err(|errno| *errno))
        }
        Request::Set(ops) => {
            let result = ask(id, link, |answer| Command::Set { ops, outcome: parsed.outcome, answer })?;
            reply::write_set(&mut Patient::new(stream, link), result)
        }
    };
    match written {
        // A client that has hung up misses its reply, but what else it has sent still counts.
        Err(err) if matches!(err.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => Ok(()),
        written => written,
    }
}

/// Puts a command in the queue and waits for the data lane's answer.
fn ask<T>(id: u64, link: &Link, command: impl FnOnce(SyncSender<T>) -> Command) -> io::Result<T> {
    let gone = || io::Error::from(ErrorKind::ConnectionAborted);
    if !link.shared.begin_service(id) {
        return Err(gone());
    }
    let (answer, answered) = sync_channel(1);
    // There is room for one command of each client that has a place.
    link.commands.try_send(command(answer)).map_err(|_| gone())?;
    (link.wake)();
    let answer = answered.recv().map_err(|_| gone())?;
    link.shared.end_service(id);
    Ok(answer)
}

/// Reads what is there, or waits until `deadline`.
fn read(mut stream: &UnixStream, buffer: &mut [u8], deadline: Option<Instant>) -> io::Result<usize> {
    loop {
        stream.set_read_timeout(deadline.map(time_left).transpose()?)?;
        match stream.read(buffer) {
            Err(err) if err.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// A writer that gives a slow reader a limited time for the whole reply.
struct Patient<'a> {
    stream: &'a UnixStream,
    deadline: Instant,
}

impl<'a> Patient<'a> {
    fn new(stream: &'a UnixStream, link: &Link) -> Self {
        Self { stream, deadline: Instant::now() + link.shared.limits.patience }
    }
}

impl Write for Patient<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(time_left(self.deadline)?))?;
        self.stream.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The time until `deadline`, never zero, which a socket would take for "for ever".
fn time_left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
}
