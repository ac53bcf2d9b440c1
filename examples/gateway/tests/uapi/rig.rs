//! A server on a real socket, a data lane that applies to a model, and clients to talk to it.

use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};

use wg_gateway::uapi::{Limits, Progress, Server};

use crate::model::Model;

/// Long enough that a test in which it passes has failed.
const NEVER: Duration = Duration::from_secs(60);

/// A running server. Everything ends when it is dropped.
pub(crate) struct Rig {
    path: PathBuf,
    device: Arc<Mutex<Model>>,
    bell: Sender<Bell>,
    lane: Option<JoinHandle<()>>,
}

enum Bell {
    Wake,
    Stop,
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::with_limits(Limits { patience: NEVER, ..Limits::default() })
    }

    pub(crate) fn with_limits(limits: Limits) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("wgsock-{}-{number}.sock", std::process::id()));
        Self::at(&path, limits)
    }

    pub(crate) fn at(path: &Path, limits: Limits) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let device = Arc::new(Mutex::new(Model::default()));
        let (bell, rings) = channel();
        let wake = bell.clone();
        let mut server =
            Server::start(&listener, limits, move || wake.send(Bell::Wake).unwrap_or(())).unwrap();
        let shared = Arc::clone(&device);
        let lane = thread::spawn(move || {
            while let Ok(Bell::Wake) = rings.recv() {
                // Small slices, with the lock given up in between: if requests could mix, they would.
                while server.serve(&mut *shared.lock().unwrap(), 64) == Progress::More {
                    thread::yield_now();
                }
            }
        });
        Self { path: path.to_owned(), device, bell, lane: Some(lane) }
    }

    pub(crate) fn device(&self) -> MutexGuard<'_, Model> {
        self.device.lock().unwrap()
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(&self.path)
    }

    /// Stops the server and waits for all its threads.
    pub(crate) fn stop(&mut self) {
        let _ = self.bell.send(Bell::Stop);
        if let Some(lane) = self.lane.take() {
            lane.join().unwrap();
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.stop();
        let _ = std::fs::remove_file(&self.path);
    }
}

pub(crate) struct Client {
    pub(crate) stream: UnixStream,
}

impl Client {
    pub(crate) fn connect(path: &Path) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(NEVER)).unwrap();
        stream.set_write_timeout(Some(NEVER)).unwrap();
        Self { stream }
    }

    pub(crate) fn send(&mut self, text: impl AsRef<[u8]>) -> &mut Self {
        self.stream.write_all(text.as_ref()).unwrap();
        self
    }

    /// Sends one request and returns its reply without the blank line.
    pub(crate) fn ask(&mut self, text: impl AsRef<[u8]>) -> String {
        self.send(text).reply()
    }

    /// Reads to the blank line that ends a reply.
    pub(crate) fn reply(&mut self) -> String {
        let mut reply = Vec::new();
        let mut byte = [0];
        while !reply.ends_with(b"\n\n") && reply != b"\n" {
            assert_eq!(
                self.stream.read(&mut byte).unwrap(),
                1,
                "hung up after {:?}",
                String::from_utf8_lossy(&reply)
            );
            reply.push(byte[0]);
        }
        reply.pop();
        String::from_utf8(reply).unwrap()
    }

    /// Reads until the server hangs up.
    pub(crate) fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(err) => assert_eq!(err.kind(), std::io::ErrorKind::ConnectionReset, "{err}"),
        }
        String::from_utf8(rest).unwrap()
    }
}
