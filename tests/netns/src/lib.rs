//! Namespaces, tunnels and traffic for tests on a real kernel.
//!
//! The crate builds small networks out of network namespaces and veth pairs, starts `wg-gateway` or `wireguard-go` in
//! them, configures both with the ordinary `wg` (or through the UAPI socket), sends traffic and looks at the wire. It is
//! used by its own tests and by `cargo xtask demo` and `bench`.
//!
//! * [`Requirements`] says whether this machine can do that, and what is missing.
//! * [`Namespace`] and [`veth`] are the network; [`cleanup`] removes all of it, also after a panic or Ctrl-C.
//! * [`Program`], [`Launch`] and [`Tunnel`] are a running program and its interface; [`wg`] and [`uapi`] configure it.
//! * [`Node`] and [`Pair`] put one tunnel into each of two namespaces, with keys and addresses.
//! * [`ping`], [`echo`], [`tcp`], [`stream`], [`udp`] and [`iperf`] send traffic; [`capture`] and [`inject`] watch and
//!   disturb the wire.
//! * [`autopsy`] is what a failed test tells of a program before it is killed.
//! * [`quota`] gives programs a share of the processors.
//! * [`lanes`] are gateways of several lanes, and what is to arrive over them; [`relay`] has a node roam.
//! * [`site`] is where a node is flooded; [`flood`] attacks, and [`newcomers`] are honest peers that begin a session
//!   meanwhile.
//!
//! How to run it is said in the README of the package.
//!
//! This is a test harness: what cannot be set up ends in a panic that names the command and its output, at the line of
//! the caller. Nothing here needs `unsafe` but the `ioctl`s of [`tun_fd`].

pub mod autopsy;
pub mod capture;
pub mod cleanup;
pub mod command;
pub mod echo;
pub mod flood;
pub mod inject;
pub mod iperf;
pub mod key;
pub mod lanes;
pub mod launch;
pub mod matrix;
pub mod namespace;
pub mod newcomers;
pub mod node;
pub mod pair;
pub mod pcap;
pub mod ping;
pub mod process;
pub mod program;
pub mod quota;
pub mod relay;
pub mod requirements;
pub mod site;
pub mod status;
pub mod stream;
pub mod syscalls;
pub mod tcp;
pub mod tshark;
pub mod tun_fd;
pub mod tunnel;
pub mod uapi;
pub mod udp;
pub mod veth;
pub mod wait;
pub mod wg;

pub use launch::Launch;
pub use namespace::Namespace;
pub use node::{Family, Node};
pub use pair::Pair;
pub use program::Program;
pub use requirements::Requirements;
pub use tunnel::Tunnel;
