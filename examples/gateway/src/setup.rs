//! From the arguments to a TUN and a socket: everything that exists before the first packet.
//!
//! ```text
//! main -> Readiness::take    are we the background process of a waiting parent?
//!      -> daemon::start      no, and not in the foreground: start one, wait, exit
//!      -> Setup::make        read the configuration file, open or adopt the TUN, then the configuration socket
//!      -> run::run           the event loop; tells the parent once everything works
//! ```
//!
//! The file comes first: until its names are resolved, which may take a minute, there is nothing to leave behind.

use core::time::Duration;
use std::io;
use std::path::Path;

use wg_datapath::Discipline;
use wg_sched::StrategyKind;
use wg_sys_linux::daemon::inherited_fd;
use wg_sys_linux::{Error, Offloads, Tun, UapiSocket};

use crate::cli::{self, Cli, Kernel, Splitting};
use crate::conf::{self, Conf, ConfError, SystemResolver};
use crate::uapi::Op;

/// The MTU of an interface that carries WireGuard over a path of 1500 bytes: room for IPv6, UDP and our headers.
const DEFAULT_MTU: u32 = 1420;

/// How a thread that moves packets stands to others that want the processor.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    /// Whether it stays on its processor.
    pub pin: bool,
    /// Its niceness.
    pub nice: i32,
    /// Whether it runs before ordinary threads as long as it sleeps in between.
    pub real_time: bool,
}

/// What the event loop is given.
#[derive(Debug)]
pub struct Setup {
    /// The name the interface has in the end.
    pub interface: String,
    /// The queues of the interface, one for each lane; at least one.
    pub queues: Vec<Tun>,
    /// The listening configuration socket.
    pub socket: UapiSocket,
    /// How many threads move packets; those without a queue help.
    pub threads: usize,
    /// How the work is to be spread over cores.
    pub strategy: StrategyKind,
    /// How those threads stand to others.
    pub standing: Standing,
    /// When the adaptive strategy may split counters by itself.
    pub auto_split: Splitting,
    /// The offloads to use where the kernel has them.
    pub offloads: Offloads,
    /// The backend of the AEAD, if it is not to be the best one.
    pub aead: Option<Kernel>,
    /// How packets wait for the tunnel.
    pub queue: Discipline,
    /// What the interface is configured with before anyone hears of it; nothing without a file.
    pub configuration: Vec<Op>,
    /// The lines of the file with allowed IPs whose host bits are dropped.
    pub host_bits: Vec<u32>,
}

impl Setup {
    /// Opens what is to be opened, or adopts what the environment names.
    ///
    /// A configuration file may hold names. Between two tries to look one up `pause` waits, and gives up with `false`.
    ///
    /// # Errors
    ///
    /// The step that failed; nothing of it is left behind.
    pub fn make(cli: &Cli, pause: impl FnMut(Duration) -> bool) -> Result<Self, Error> {
        let (configuration, host_bits) = match &cli.config {
            Some(path) => load(path, pause).map_err(|error| Error::new("use the configuration", error))?,
            None => (Vec::new(), Vec::new()),
        };
        let (mut queues, threads) = match inherited_fd(cli::TUN_FD)? {
            // One descriptor is one queue, and that is one lane.
            Some(fd) => {
                let threads = cli.spread.threads.map_or(1, usize::from);
                (vec![Tun::adopt_with(fd, cli.offload)?], threads)
            }
            None => {
                let queues = Tun::open_queues(cli.interface.as_str(), cli.spread.lanes(), cli.offload)?;
                (queues, cli.spread.threads())
            }
        };
        let no_queue = || Error::new("open the TUN interface", io::ErrorKind::NotFound);
        let tun = queues.first_mut().ok_or_else(no_queue)?;
        tun.set_mtu(DEFAULT_MTU)?;
        let interface = tun.name()?;
        let socket = match inherited_fd(cli::UAPI_FD)? {
            Some(fd) => UapiSocket::adopt(fd, &interface)?,
            None => UapiSocket::bind(&interface)?,
        };
        Ok(Self {
            interface,
            queues,
            socket,
            threads,
            strategy: cli.spread.strategy,
            standing: Standing { pin: cli.pin, nice: cli.nice, real_time: cli.real_time },
            auto_split: cli.auto_split,
            offloads: cli.offload,
            aead: cli.aead,
            queue: cli.queue,
            configuration,
            host_bits,
        })
    }
}

/// Reads and compiles a file, and resolves its names. Messages begin with `FILE:LINE: ` or `FILE: `.
fn load(path: &Path, pause: impl FnMut(Duration) -> bool) -> io::Result<(Vec<Op>, Vec<u32>)> {
    let name = path.display();
    let text = conf::read(path).map_err(|error| io::Error::new(error.kind(), format!("{name}: {error}")))?;
    let invalid = |error: ConfError| {
        io::Error::new(io::ErrorKind::InvalidData, format!("{name}:{}: {}", error.line, error.kind))
    };
    let mut conf = Conf::parse(&text).map_err(invalid)?;
    let host_bits = core::mem::take(&mut conf.host_bits);
    let mut resolver = SystemResolver::from_environment().pausing_by(pause);
    let ops = conf.into_ops(&mut resolver).map_err(invalid)?;
    Ok((ops, host_bits))
}
