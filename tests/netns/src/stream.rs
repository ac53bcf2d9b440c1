//! A TCP connection that carries as much as it can, and whose progress can be read at any time.

use core::net::SocketAddr;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;

use crate::{Namespace, process};

/// How long a connection may take to come about.
const PATIENCE: Duration = Duration::from_secs(20);
const CHUNK: usize = 1 << 17;

/// A running stream; dropping it ends it.
#[derive(Debug)]
pub struct Stream {
    arrived: Arc<AtomicU64>,
    ends: [TcpStream; 2],
    threads: Vec<JoinHandle<()>>,
}

impl Stream {
    /// Connects from one namespace to `address` in another, and sends. The threads of sender and receiver run on `cpus`.
    ///
    /// # Errors
    ///
    /// When no connection comes about in twenty seconds.
    pub fn start(
        from: &Namespace,
        to: &Namespace,
        address: SocketAddr,
        cpus: [Option<usize>; 2],
    ) -> io::Result<Self> {
        let listener = to.enter(|| TcpListener::bind(address))?;
        let outgoing = from.enter(|| TcpStream::connect_timeout(&listener.local_addr()?, PATIENCE))?;
        let (incoming, _) = listener.accept()?;
        let ends = [outgoing.try_clone()?, incoming.try_clone()?];
        let arrived = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&arrived);
        let threads = vec![
            std::thread::spawn(move || {
                process::pin_thread(cpus[0]);
                send(outgoing);
            }),
            std::thread::spawn(move || {
                process::pin_thread(cpus[1]);
                receive(incoming, &counter);
            }),
        ];
        Ok(Self { arrived, ends, threads })
    }

    /// Bytes that have arrived.
    pub fn arrived(&self) -> u64 {
        self.arrived.load(Ordering::Relaxed)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        for end in &self.ends {
            end.shutdown(Shutdown::Both).ok();
        }
        for thread in self.threads.drain(..) {
            thread.join().ok();
        }
    }
}

/// Sends until the connection ends.
fn send(mut stream: TcpStream) {
    let chunk = vec![0x5a; CHUNK];
    while stream.write_all(&chunk).is_ok() {}
}

/// Counts until the connection ends.
fn receive(mut stream: TcpStream, arrived: &AtomicU64) {
    let mut buffer = vec![0; CHUNK];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        arrived.fetch_add(length as u64, Ordering::Relaxed);
    }
}
