//! Life and death of the socket file.

use core::sync::atomic::{AtomicU32, Ordering};
use std::io::{Read, Write};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;

use super::*;

/// A directory of this test alone, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("wg-sys-uapi-{}-{number}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn bind(&self) -> Result<UapiSocket, Error> {
        UapiSocket::bind_in(&self.0, "wg0")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Waits, but not for ever: only a failing test waits so long.
fn wait_readable(fd: impl AsFd) {
    let patience = Timespec { tv_sec: 20, tv_nsec: 0 };
    assert_eq!(poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&patience)), Ok(1));
}

#[test]
fn only_the_owner_may_connect_whatever_the_umask() {
    let scratch = Scratch::new();
    let directory = scratch.0.join("made/on/the/way");
    let socket = UapiSocket::bind_in(&directory, "wg0").unwrap();
    assert_eq!(fs::metadata(socket.path()).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(fs::metadata(&directory).unwrap().permissions().mode() & 0o777, 0o755);
    assert_eq!(socket.path(), directory.join("wg0.sock"));
}

#[test]
fn connections_are_accepted_without_blocking() {
    let scratch = Scratch::new();
    let socket = scratch.bind().unwrap();
    assert!(socket.accept().unwrap().is_none());
    let mut client = UnixStream::connect(socket.path()).unwrap();
    wait_readable(&socket);
    let mut served = socket.accept().unwrap().unwrap();
    assert_eq!(served.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    client.write_all(b"get=1\n\n").unwrap();
    let mut request = [0; 16];
    assert_eq!(served.read(&mut request).unwrap(), 7);
}

#[test]
fn stale_file_is_replaced() {
    let scratch = Scratch::new();
    let path = scratch.0.join("wg0.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "std leaves the file behind");
    let socket = scratch.bind().unwrap();
    assert!(UnixStream::connect(socket.path()).is_ok());
}

#[test]
fn living_listener_is_respected() {
    let scratch = Scratch::new();
    let first = scratch.bind().unwrap();
    let error = scratch.bind().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    assert!(first.path().exists());
    assert!(UnixStream::connect(first.path()).is_ok());
}

#[test]
fn file_that_is_no_socket_is_left_alone() {
    let scratch = Scratch::new();
    let path = scratch.0.join("wg0.sock");
    fs::write(&path, "precious").unwrap();
    assert_eq!(scratch.bind().unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn deletion_of_the_file_is_noticed() {
    let scratch = Scratch::new();
    let mut socket = scratch.bind().unwrap();
    assert!(!socket.removed());
    fs::remove_file(socket.path()).unwrap();
    wait_readable(socket.watch());
    assert!(socket.removed());
}

#[test]
fn renaming_the_file_is_noticed_and_touching_it_is_not() {
    let scratch = Scratch::new();
    let mut socket = scratch.bind().unwrap();
    fs::set_permissions(socket.path(), fs::Permissions::from_mode(0o600)).unwrap();
    wait_readable(socket.watch());
    assert!(!socket.removed());
    fs::rename(socket.path(), scratch.0.join("other")).unwrap();
    wait_readable(socket.watch());
    assert!(socket.removed());
}

#[test]
fn drop_removes_the_file_only_while_it_is_ours() {
    let scratch = Scratch::new();
    let first = scratch.bind().unwrap();
    let path = first.path().to_path_buf();
    drop(first);
    assert!(!path.exists());

    let mut deposed = scratch.bind().unwrap();
    fs::remove_file(&path).unwrap();
    let successor = scratch.bind().unwrap();
    assert!(deposed.removed());
    drop(deposed);
    assert!(path.exists(), "the successor's file stays");
    assert!(UnixStream::connect(successor.path()).is_ok());
}

#[test]
fn adopted_listener_serves_and_cleans_up() {
    let scratch = Scratch::new();
    let path = scratch.0.join("other-name.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let socket = UapiSocket::adopt(listener.into(), "wg0").unwrap();
    assert_eq!(socket.path(), path);
    let _client = UnixStream::connect(&path).unwrap();
    assert!(socket.accept().unwrap().is_some());
    assert!(socket.accept().unwrap().is_none(), "made non-blocking");
    drop(socket);
    assert!(!path.exists());
}

#[test]
fn only_listening_unix_sockets_are_adopted() {
    let (stream, _other) = UnixStream::pair().unwrap();
    assert!(UapiSocket::adopt(stream.into(), "wg0").is_err());
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    assert!(UapiSocket::adopt(tcp.into(), "wg0").is_err());
    let file = fs::File::open("/dev/null").unwrap();
    assert!(UapiSocket::adopt(file.into(), "wg0").is_err());
}

#[test]
fn names_that_leave_the_directory_are_refused() {
    let scratch = Scratch::new();
    assert!(UapiSocket::bind_in(&scratch.0, "../x").is_err());
    assert!(UapiSocket::bind_in(&scratch.0, "").is_err());
}

#[test]
fn file_that_is_losing_its_only_name_counts_as_removed() {
    // U4: what a look at the path finds in the moment between the report of an unlink and its end.
    let scratch = Scratch::new();
    let socket = scratch.bind().unwrap();
    let file = rustix::fs::open(socket.path(), OFlags::PATH, Mode::empty()).map(fs::File::from).unwrap();
    assert_eq!(FileId::of_named(&file.metadata().unwrap()), socket.file);
    fs::remove_file(socket.path()).unwrap();
    let metadata = file.metadata().unwrap();
    assert_eq!((FileId::of(&metadata), FileId::of_named(&metadata)), (socket.file, None));
}
