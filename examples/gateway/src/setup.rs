//! From the arguments to a TUN and a socket: everything that exists before the first packet.
//!
//! ```text
//! main -> Readiness::take    are we the background process of a waiting parent?
//!      -> daemon::start      no, and not in the foreground: start one, wait, exit
//!      -> Setup::make        open or adopt the TUN, then the configuration socket
//!      -> run::run           the event loop; tells the parent once everything works
//! ```

use wg_sched::StrategyKind;
use wg_sys_linux::daemon::inherited_fd;
use wg_sys_linux::{Error, Tun, UapiSocket};

use crate::cli::{self, Cli};

/// The MTU of an interface that carries WireGuard over a path of 1500 bytes: room for IPv6, UDP and our headers.
const DEFAULT_MTU: u32 = 1420;

/// What the event loop is given.
#[derive(Debug)]
pub struct Setup {
    /// The name the interface has in the end.
    pub interface: String,
    /// The interface.
    pub tun: Tun,
    /// The listening configuration socket.
    pub socket: UapiSocket,
    /// How the work is to be spread over cores.
    pub strategy: StrategyKind,
}

impl Setup {
    /// Opens what is to be opened, or adopts what the environment names.
    ///
    /// # Errors
    ///
    /// The step that failed; nothing of it is left behind.
    pub fn make(cli: &Cli) -> Result<Self, Error> {
        let mut tun = match inherited_fd(cli::TUN_FD)? {
            Some(fd) => Tun::adopt(fd)?,
            None => Tun::open(cli.interface.as_str())?,
        };
        tun.set_mtu(DEFAULT_MTU)?;
        let interface = tun.name()?;
        let socket = match inherited_fd(cli::UAPI_FD)? {
            Some(fd) => UapiSocket::adopt(fd, &interface)?,
            None => UapiSocket::bind(&interface)?,
        };
        Ok(Self { interface, tun, socket, strategy: cli.strategy })
    }
}
