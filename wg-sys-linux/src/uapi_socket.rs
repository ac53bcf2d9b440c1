//! The configuration socket `/var/run/wireguard/IFNAME.sock`: made, adopted, watched, removed (U3, U4).
//!
//! Only the owner may connect. A socket file that nobody listens on is replaced, one with a listener is respected. The
//! file is removed at the end only if it is still the one this process made: a successor may have put its own there.

use std::fs::{self, DirBuilder, Metadata};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, inotify};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::{Error, ifname};

/// Where `wg` looks for sockets.
const DIRECTORY: &str = "/var/run/wireguard";

/// What fails if the file cannot be watched.
const WATCH: &str = "watch the UAPI socket";

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 128;

/// The listening socket of one interface. Dropping it removes the file.
#[derive(Debug)]
pub struct UapiSocket {
    listener: UnixListener,
    path: PathBuf,
    /// The file as it was when this process made or adopted it; `None` if it was gone already.
    file: Option<FileId>,
    watch: OwnedFd,
}

/// A file, however it is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// Returns the socket file at `path`, if there is one.
    fn of_socket(path: &Path) -> Option<Self> {
        Self::of(&fs::symlink_metadata(path).ok()?)
    }

    fn of(metadata: &Metadata) -> Option<Self> {
        metadata.file_type().is_socket().then(|| Self { device: metadata.dev(), inode: metadata.ino() })
    }

    /// As [`of`](Self::of), and its name is not just being taken away: the kernel reports that first, and for a moment
    /// after the report the name still leads to the file. There is no second report.
    fn of_named(metadata: &Metadata) -> Option<Self> {
        Self::of(metadata).filter(|_| metadata.nlink() > 0)
    }
}

impl UapiSocket {
    /// Makes the socket of `interface` in `/var/run/wireguard`.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::AddrInUse`] if another process listens there; whatever the file system says otherwise.
    pub fn bind(interface: &str) -> Result<Self, Error> {
        Self::bind_in(Path::new(DIRECTORY), interface)
    }

    /// Where the socket of `interface` is, if there is one.
    #[must_use]
    pub fn path_of(interface: &str) -> PathBuf {
        socket_path(Path::new(DIRECTORY), interface)
    }

    /// Makes the socket of `interface` in another directory.
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind).
    pub fn bind_in(directory: &Path, interface: &str) -> Result<Self, Error> {
        ifname::check(interface)?;
        make_directory(directory).map_err(Error::during("make the directory of the UAPI socket"))?;
        let path = socket_path(directory, interface);
        // First, as what fails behind the socket would leave its file.
        let watch = make_watch()?;
        let listener = listen(&path).map_err(Error::during("make the UAPI socket"))?;
        Self::watched(watch, listener, path)
    }

    /// Adopts a listening socket that another process made for `interface`, such as one from `WG_UAPI_FD`.
    ///
    /// # Errors
    ///
    /// The descriptor is not a listening Unix socket.
    pub fn adopt(fd: OwnedFd, interface: &str) -> Result<Self, Error> {
        const OPERATION: &str = "adopt the UAPI socket";
        ifname::check(interface)?;
        let domain = rustix::net::sockopt::socket_domain(&fd).map_err(Error::during(OPERATION))?;
        let listens = rustix::net::sockopt::socket_acceptconn(&fd).map_err(Error::during(OPERATION))?;
        if domain != AddressFamily::UNIX || !listens {
            return Err(Error::new(OPERATION, Errno::INVAL));
        }
        let listener = UnixListener::from(fd);
        listener.set_nonblocking(true).map_err(Error::during(OPERATION))?;
        let bound = listener.local_addr().ok().and_then(|addr| addr.as_pathname().map(Path::to_path_buf));
        let path = bound.unwrap_or_else(|| socket_path(Path::new(DIRECTORY), interface));
        Self::watched(make_watch()?, listener, path)
    }

    fn watched(watch: OwnedFd, listener: UnixListener, path: PathBuf) -> Result<Self, Error> {
        let file = FileId::of_socket(&path);
        let socket = Self { listener, path, file, watch };
        // Losing the last name changes the attributes of the file, long before the listener lets go of it.
        let what = inotify::WatchFlags::ATTRIB
            | inotify::WatchFlags::DELETE_SELF
            | inotify::WatchFlags::MOVE_SELF
            | inotify::WatchFlags::DONT_FOLLOW;
        match inotify::add_watch(&socket.watch, &*socket.path, what) {
            // A file that is gone needs no watch: `removed` finds it missing.
            Ok(_) | Err(Errno::NOENT) => Ok(socket),
            Err(error) => Err(Error::new(WATCH, error)),
        }
    }

    /// Accepts one waiting connection; `None` if there is none. The stream is non-blocking.
    ///
    /// # Errors
    ///
    /// The process is out of descriptors or memory; the connection stays waiting.
    pub fn accept(&self) -> Result<Option<UnixStream>, Error> {
        loop {
            match rustix::net::accept_with(&self.listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                Ok(stream) => return Ok(Some(UnixStream::from(stream))),
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(error) => return Err(Error::new("accept a UAPI connection", error)),
            }
        }
    }

    /// Tells whether the socket file has been removed or replaced. Call it when [`watch`](Self::watch) is readable.
    pub fn removed(&mut self) -> bool {
        let mut events = [0; 4096];
        while matches!(rustix::io::read(&self.watch, &mut events), Ok(1..)) {}
        let found = fs::symlink_metadata(&self.path).ok();
        self.file.is_none() || found.as_ref().and_then(FileId::of_named) != self.file
    }

    /// Returns a descriptor that becomes readable when something happens to the socket file.
    #[must_use]
    pub fn watch(&self) -> BorrowedFd<'_> {
        self.watch.as_fd()
    }

    /// Returns the path of the socket file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The listener: readable when a connection waits.
impl AsFd for UapiSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Drop for UapiSocket {
    fn drop(&mut self) {
        // The listener is still open and holds its inode, so no other file can have got the same number.
        if self.file.is_some() && FileId::of_socket(&self.path) == self.file {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn socket_path(directory: &Path, interface: &str) -> PathBuf {
    directory.join(format!("{interface}.sock"))
}

/// Makes the directory with mode 0755 whatever the umask; one that exists is left as it is.
fn make_directory(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755))
}

/// Makes what watches the file.
fn make_watch() -> Result<OwnedFd, Error> {
    inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)
        .map_err(Error::during(WATCH))
}

/// Binds and listens, replacing a file that nobody listens on.
fn listen(path: &Path) -> Result<UnixListener, Errno> {
    match listen_once(path) {
        Err(Errno::ADDRINUSE) => {}
        result => return result,
    }
    if FileId::of_socket(path).is_none() {
        // Something other than a socket is not ours to remove.
        return if path.exists() { Err(Errno::EXIST) } else { listen_once(path) };
    }
    match probe(path) {
        Err(Errno::CONNREFUSED) => match rustix::fs::unlink(path) {
            Ok(()) | Err(Errno::NOENT) => listen_once(path),
            Err(error) => Err(error),
        },
        Err(Errno::NOENT) => listen_once(path),
        // Accepted, or refused for the moment because its queue is full.
        Ok(()) | Err(_) => Err(Errno::ADDRINUSE),
    }
}

/// Connects to see whether anyone listens.
fn probe(path: &Path) -> Result<(), Errno> {
    rustix::net::connect(&stream_socket()?, &SocketAddrUnix::new(path)?)
}

fn listen_once(path: &Path) -> Result<UnixListener, Errno> {
    let socket = stream_socket()?;
    // Linux gives the file the mode of the socket less the umask. So the file is never open to others, not even for
    // a moment, and the umask of the process, which all threads share, need not be touched.
    rustix::fs::fchmod(&socket, Mode::RWXU)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(UnixListener::from(socket))
}

fn stream_socket() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
}

#[cfg(test)]
mod tests;
