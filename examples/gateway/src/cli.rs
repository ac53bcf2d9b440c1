//! How the program is called, and the environment it looks at (U1, U2, U5):
//!
//! ```text
//! wg-gateway [-f|--foreground] [--config FILE] [--strategy NAME] [--threads N] [--lanes N] [--pin] [--nice N]
//!            [--real-time on|off] [--auto-split auto|on|off] [--offload NAME=off,..] [--aead NAME] [--queue NAME] IFNAME
//! wg-gateway topology [--strategy NAME] [--threads N] [--lanes N]
//! wg-gateway ctl strategy NAME IFNAME
//! wg-gateway ctl show IFNAME
//! ```

use core::fmt;
use core::num::NonZero;
use core::str::FromStr;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::thread;

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use wg_datapath::{Discipline, MultiBufferAead};
use wg_sched::StrategyKind;
use wg_sys_linux::Offloads;

use crate::log::LogLevel;

/// The environment variable that names an open TUN descriptor.
pub const TUN_FD: &str = "WG_TUN_FD";
/// The environment variable that names a listening configuration socket.
pub const UAPI_FD: &str = "WG_UAPI_FD";
/// The environment variable that keeps the process in the foreground if it is `1`.
pub const PROCESS_FOREGROUND: &str = "WG_PROCESS_FOREGROUND";
/// The environment variable that says how much is logged.
pub const LOG_LEVEL: &str = "LOG_LEVEL";

/// The most lanes: the kernel gives a TUN 256 queues, and a home has a number of a byte.
const MOST_LANES: i64 = 256;
/// The most unless told otherwise. A lane is worth its memory while there is work for it, which is where peers are at home;
/// each of them also costs the others a pair of rings, and every new session index one more draw. Half of the processors are
/// left to what the packets are for, and to the kernel's part of them.
const DEFAULT_MOST_LANES: usize = 8;
/// Where threads are not real-time they are like others: nicer ones would be woken for each packet, and interrupt who sends it.
const DEFAULT_NICE: i32 = 0;

// What is printed instead. As documentation this would become that of the program.
#[derive(Clone, Debug, Subcommand)]
enum Print {
    /// Prints which processor would do what, and why.
    Topology(Spread),
    /// Has a gateway that runs do something, or say what it does and what it dropped.
    Ctl {
        #[command(subcommand)]
        what: Ctl,
    },
}

/// What a gateway that runs is to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Ctl {
    /// Spreads the work over its threads in another way, without losing a packet.
    Strategy {
        /// The strategy.
        #[arg(value_name = "NAME")]
        name: StrategyKind,
        /// The interface.
        #[arg(value_name = "IFNAME")]
        interface: InterfaceName,
    },
    /// Prints the strategy that was chosen, what the gateway makes of it now, and what it dropped, by reason.
    Show {
        /// The interface.
        #[arg(value_name = "IFNAME")]
        interface: InterfaceName,
    },
}

/// What the program is to do.
#[derive(Clone, Debug)]
pub enum Command {
    /// Be a gateway.
    Run(Cli),
    /// Print which processor would do what.
    Topology(Spread),
    /// Tell a gateway that runs.
    Ctl(Ctl),
}

impl Command {
    /// Reads the arguments, the first of which is the name of the program.
    ///
    /// # Errors
    ///
    /// What to print instead, which may also be the answer to `--help` or `--version`; see [`exit_code`].
    pub fn read<I, T>(arguments: I) -> Result<Self, clap::Error>
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        let mut command = Self::definition();
        let matches = command.try_get_matches_from_mut(arguments)?;
        if matches.subcommand_name().is_none() {
            return Cli::from_arg_matches(&matches)
                .map(Self::Run)
                .map_err(|error| error.format(&mut command));
        }
        match Print::from_arg_matches(&matches).map_err(|error| error.format(&mut command))? {
            Print::Topology(spread) => Ok(Self::Topology(spread)),
            Print::Ctl { what } => Ok(Self::Ctl(what)),
        }
    }

    /// All arguments. An interface may be called as a command is if an option, or `--`, stands before it.
    fn definition() -> clap::Command {
        Print::augment_subcommands(Cli::command())
            .args_conflicts_with_subcommands(true)
            .subcommand_negates_reqs(true)
            .disable_help_subcommand(true)
    }
}

/// When the adaptive strategy splits the counters of a lane by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Splitting {
    /// Where that brings more, and no lane waits for a processor.
    Auto,
    /// Where that brings more.
    On,
    /// Never.
    Off,
}

/// How the work is spread over cores.
#[derive(Clone, Copy, Debug, Args)]
pub struct Spread {
    /// Chooses how the work is spread over cores: by default each moves the packets of its own peers, and idle ones take cipher work
    /// from busy ones.
    #[arg(long, value_name = "NAME", default_value_t)]
    pub strategy: StrategyKind,
    /// Moves packets on so many threads, each with a queue of the interface and sockets of its own [default: half as many as there are
    /// processors for the program, up to 8; 1 with WG_TUN_FD, which is one queue].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=MOST_LANES))]
    pub threads: Option<u16>,
    /// Gives queue and sockets only to so many of these threads [default: all of them]; the others help with the cipher, if the
    /// strategy has use for them. By strategies with a lock every thread needs them.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=MOST_LANES))]
    pub lanes: Option<u16>,
}

/// A WireGuard TUN gateway: makes an interface that `wg` and `wg-quick` configure.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "wg-gateway",
    version,
    after_help = "Environment:\n  \
                  LOG_LEVEL=verbose|debug|error|silent   what to log to standard error (default: error)\n  \
                  WG_PROCESS_FOREGROUND=1                 the same as --foreground\n  \
                  WG_TUN_FD=N, WG_UAPI_FD=N               use these open descriptors\n  \
                  WG_ENDPOINT_RESOLUTION_RETRIES=N        look up a name of FILE again so often (default: 15)"
)]
pub struct Cli {
    /// Stays in the foreground instead of becoming a daemon.
    #[arg(short, long)]
    pub foreground: bool,
    #[expect(missing_docs, reason = "the help of the program would show it")]
    #[command(flatten)]
    pub spread: Spread,
    /// Keeps each of these threads on one processor.
    #[arg(long)]
    pub pin: bool,
    /// Gives these threads this niceness, from -20 to 19, the lower the more of a processor that others want, too.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_NICE, value_parser = clap::value_parser!(i32).range(-20..=19), allow_negative_numbers = true)]
    pub nice: i32,
    /// Whether these threads run before all ordinary programs as long as they sleep in between; one that hardly sleeps does not.
    #[arg(long, value_name = "on|off", default_value = "on", action = ArgAction::Set, value_parser = PossibleValuesParser::new(["on", "off"]).map(|word| word == "on"))]
    pub real_time: bool,
    /// Whether the adaptive strategy has other lanes receive for one that has all it can do with few and large tunnels, as long as that
    /// brings more: auto where no lane waits for a processor, on always. That takes three lanes of a node at least.
    #[arg(long, value_name = "auto|on|off", default_value = "auto", hide_possible_values = true)]
    pub auto_split: Splitting,
    /// Switches offloads: NAME=on|off with NAME one of all, tun, tun-csum, tun-tso, tun-uso, udp-gso, udp-gro. What is not named
    /// is used where the kernel has it.
    #[arg(long, value_name = "NAME=off,..", default_value_t, hide_default_value = true)]
    pub offload: Offloads,
    /// Has this backend seal and open all packets instead of the best one of this machine: avx512, avx2, neon, sse2 or portable, which
    /// do several packets at once, or ring, one by one. One that the machine does not have is refused.
    #[arg(long, value_name = "NAME")]
    pub aead: Option<Kernel>,
    /// How packets wait for the tunnel: fq-codel, fair to peers and flows, or fifo, as they come.
    #[arg(long, value_name = "NAME", default_value_t)]
    pub queue: Discipline,
    /// Configures the interface from a file as `wg setconf` reads it, before the program goes to the background.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The name of the interface; `%d` in it becomes a free number.
    #[arg(value_name = "IFNAME")]
    pub interface: InterfaceName,
}

impl Spread {
    /// How many of the threads have a lane.
    #[must_use]
    pub fn lanes(&self) -> usize {
        self.lanes.map_or_else(|| self.threads(), |lanes| usize::from(lanes).min(self.threads()))
    }

    /// How many threads there are to be.
    #[must_use]
    pub fn threads(&self) -> usize {
        let half =
            || thread::available_parallelism().map_or(1, NonZero::get).div_ceil(2).min(DEFAULT_MOST_LANES);
        self.threads.map_or_else(half, usize::from)
    }
}

/// A backend of the AEAD that this machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel(&'static str);

impl Kernel {
    /// Returns the name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.0
    }
}

/// This machine has no such backend of the AEAD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSuchKernel;

impl fmt::Display for NoSuchKernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this machine has")?;
        MultiBufferAead::kernels().try_for_each(|name| write!(f, " {name}"))
    }
}

impl core::error::Error for NoSuchKernel {}

impl FromStr for Kernel {
    type Err = NoSuchKernel;

    fn from_str(name: &str) -> Result<Self, NoSuchKernel> {
        MultiBufferAead::kernels().find(|known| *known == name).map(Self).ok_or(NoSuchKernel)
    }
}

/// The exit code that goes with what [`Command::read`] has to say: 0 for an answer, 1 for a mistake (U1).
#[must_use]
pub fn exit_code(error: &clap::Error) -> u8 {
    u8::from(error.use_stderr())
}

/// The environment as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Environment {
    /// The process is to stay in the foreground.
    pub foreground: bool,
    /// How much to log.
    pub log_level: LogLevel,
    /// Someone asked for a log, so a daemon keeps its standard error.
    pub wants_log: bool,
}

impl Environment {
    /// Reads the variables by `lookup`, which is `std::env::var_os` in real life.
    ///
    /// The two descriptors are not read here: they are adopted by their variable's name, and only once.
    pub fn read(lookup: impl Fn(&str) -> Option<OsString>) -> Self {
        let level = lookup(LOG_LEVEL).unwrap_or_default();
        let log_level = level.to_str().map_or_else(LogLevel::default, LogLevel::from_value);
        Self {
            foreground: lookup(PROCESS_FOREGROUND).as_deref() == Some(OsStr::new("1")),
            log_level,
            wants_log: !level.is_empty() && log_level != LogLevel::Silent,
        }
    }
}

/// The name of a network interface, as the kernel and the name of a socket file allow it (U5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceName(String);

impl InterfaceName {
    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Not a name that an interface can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidInterfaceName;

impl fmt::Display for InvalidInterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "an interface name has 1 to 15 printable characters without '/' and ':', and is not '.' or '..'",
        )
    }
}

impl core::error::Error for InvalidInterfaceName {}

impl FromStr for InterfaceName {
    type Err = InvalidInterfaceName;

    fn from_str(name: &str) -> Result<Self, InvalidInterfaceName> {
        let legal = |byte: u8| byte.is_ascii_graphic() && byte != b'/' && byte != b':';
        let is_legal =
            (1..=15).contains(&name.len()) && name.bytes().all(legal) && name != "." && name != "..";
        if is_legal { Ok(Self(name.to_owned())) } else { Err(InvalidInterfaceName) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(arguments: &[&str]) -> Result<Command, clap::Error> {
        Command::read([&["wg-gateway"], arguments].concat())
    }

    fn read(arguments: &[&str]) -> Result<Cli, clap::Error> {
        command(arguments).map(|command| match command {
            Command::Run(cli) => cli,
            Command::Topology(_) | Command::Ctl(_) => panic!("{arguments:?} are a command"),
        })
    }

    #[test]
    fn a_gateway_that_runs_is_told_of_a_strategy() {
        let Command::Ctl(Ctl::Strategy { name, interface }) =
            command(&["ctl", "strategy", "adaptive", "wg0"]).unwrap()
        else {
            panic!("a command");
        };
        assert_eq!((name, interface.as_str()), (StrategyKind::Adaptive, "wg0"));
        for arguments in
            [&["ctl"][..], &["ctl", "strategy", "adaptive"], &["ctl", "strategy", "swift", "wg0"]]
        {
            assert_eq!(exit_code(&command(arguments).unwrap_err()), 1, "{arguments:?}");
        }
        let Command::Ctl(Ctl::Show { interface }) = command(&["ctl", "show", "wg0"]).unwrap() else {
            panic!("a command");
        };
        assert_eq!(interface.as_str(), "wg0");
        let splits = |arguments: &[&str]| read(&[arguments, &["wg0"]].concat()).unwrap().auto_split;
        assert_eq!(splits(&[]), Splitting::Auto);
        for (word, expected) in [("auto", Splitting::Auto), ("on", Splitting::On), ("off", Splitting::Off)] {
            assert_eq!(splits(&["--auto-split", word]), expected);
        }
        assert!(read(&["--auto-split", "yes", "wg0"]).is_err());
        assert_eq!(read(&["-f", "ctl"]).unwrap().interface.as_str(), "ctl");
    }

    #[test]
    fn fewer_lanes_than_threads_leave_helpers() {
        let spread = |arguments: &[&str]| read(arguments).unwrap().spread;
        let some = spread(&["--threads", "4", "--lanes", "1", "wg0"]);
        assert_eq!((some.lanes(), some.threads()), (1, 4));
        let many = spread(&["--threads", "2", "--lanes", "9", "wg0"]);
        assert_eq!((many.lanes(), many.threads()), (2, 2), "a lane is a thread");
    }

    #[test]
    fn topology_is_printed_when_its_name_comes_first_and_is_an_interface_elsewhere() {
        let printed = |arguments: &[&str]| match command(arguments).unwrap() {
            Command::Topology(spread) => Some(spread),
            Command::Run(_) | Command::Ctl(_) => None,
        };
        assert_eq!(printed(&["topology"]).unwrap().strategy, StrategyKind::default());
        let spread = printed(&["topology", "--strategy", "inline", "--threads", "7"]).unwrap();
        assert_eq!((spread.strategy, spread.lanes()), (StrategyKind::Inline, 7));
        for arguments in [["-f", "topology"], ["--", "topology"], ["--pin", "topology"]] {
            assert_eq!(read(&arguments).unwrap().interface.as_str(), "topology");
        }
        for name in ["topolog", "topologyx", "help"] {
            assert_eq!(read(&[name]).unwrap().interface.as_str(), name);
        }
        for arguments in [&["topology", "wg0"][..], &["topology", "-f"], &["topology", "--threads", "0"]] {
            assert_eq!(exit_code(&command(arguments).unwrap_err()), 1, "{arguments:?}");
        }
        assert_eq!(exit_code(&command(&["topology", "--help"]).unwrap_err()), 0);
    }

    #[test]
    fn foreground_is_said_in_two_ways_before_or_behind_the_name() {
        assert!(!read(&["wg0"]).unwrap().foreground);
        for arguments in [["-f", "wg0"], ["--foreground", "wg0"], ["wg0", "-f"]] {
            let cli = read(&arguments).unwrap();
            assert!(cli.foreground);
            assert_eq!(cli.interface.as_str(), "wg0");
        }
    }

    #[test]
    fn names_that_no_interface_can_have_are_refused() {
        for name in ["", "sixteen-bytes-xx", "a/b", "..", ".", "a b", "a:b", "wg\u{e9}", "a\n"] {
            assert_eq!(name.parse::<InterfaceName>(), Err(InvalidInterfaceName), "{name:?}");
        }
        for name in ["a", "fifteen-bytes-x", "wg%d", "a.b_c=d+e-f0", "..."] {
            assert_eq!(name.parse::<InterfaceName>().unwrap().as_str(), name);
        }
    }

    #[test]
    fn mistakes_exit_with_one_and_answers_with_zero() {
        for arguments in
            [&[][..], &["wg0", "wg1"], &["-x", "wg0"], &["a/b"], &["-f"], &["--strategy", "none", "wg0"]]
        {
            assert_eq!(exit_code(&read(arguments).unwrap_err()), 1, "{arguments:?}");
        }
        for arguments in [["--version"], ["--help"], ["-h"], ["-V"]] {
            assert_eq!(exit_code(&read(&arguments).unwrap_err()), 0, "{arguments:?}");
        }
    }

    #[test]
    fn the_strategy_is_chosen_by_name() {
        assert_eq!(read(&["wg0"]).unwrap().spread.strategy, StrategyKind::Adaptive);
        assert_eq!(read(&["--strategy", "inline", "wg0"]).unwrap().spread.strategy, StrategyKind::Inline);
        let message = read(&["--strategy", "magic", "wg0"]).unwrap_err().to_string();
        assert!(message.contains("inline"), "{message}");
    }

    #[test]
    fn lanes_are_half_as_many_as_processors_unless_told_otherwise() {
        let available = thread::available_parallelism().unwrap().get();
        assert_eq!(read(&["wg0"]).unwrap().spread.lanes(), available.div_ceil(2).min(8));
        for (number, lanes) in [("1", 1), ("3", 3), ("256", 256)] {
            assert_eq!(read(&["--threads", number, "wg0"]).unwrap().spread.lanes(), lanes);
        }
        for number in ["0", "257", "-1", "x", ""] {
            assert_eq!(exit_code(&read(&["--threads", number, "wg0"]).unwrap_err()), 1, "{number}");
        }
        assert_eq!(read(&["wg0"]).unwrap().nice, DEFAULT_NICE);
        assert_eq!(read(&["--nice", "-20", "wg0"]).unwrap().nice, -20);
        assert!(read(&["wg0"]).unwrap().real_time);
        assert!(!read(&["--real-time", "off", "wg0"]).unwrap().real_time);
        assert!(read(&["--real-time", "maybe", "wg0"]).is_err());
        let help = read(&["--help"]).unwrap_err().to_string();
        assert!(help.contains("possible values: on, off"), "{help}");
        assert!(read(&["--nice", "20", "wg0"]).is_err() && read(&["--nice=-21", "wg0"]).is_err());
        assert!(read(&["--pin", "wg0"]).unwrap().pin && !read(&["wg0"]).unwrap().pin);
    }

    #[test]
    fn offloads_are_all_used_unless_switched_off() {
        assert_eq!(read(&["wg0"]).unwrap().offload, Offloads::ALL);
        let some = read(&["--offload", "tun=off,udp-gso=off", "wg0"]).unwrap().offload;
        assert_eq!(some, Offloads { udp_gro: true, ..Offloads::NONE });
        assert_eq!(read(&["--offload", "all=off", "wg0"]).unwrap().offload, Offloads::NONE);
        assert_eq!(exit_code(&read(&["--offload", "tun", "wg0"]).unwrap_err()), 1);
    }

    #[test]
    fn backends_and_queues_are_chosen_by_name_and_others_refused() {
        assert_eq!(
            (read(&["wg0"]).unwrap().aead, read(&["wg0"]).unwrap().queue),
            (None, Discipline::FqCodel)
        );
        let cli = read(&["--aead", "portable", "--queue", "fifo", "wg0"]).unwrap();
        assert_eq!((cli.aead.unwrap().name(), cli.queue), ("portable", Discipline::Fifo));
        for arguments in [["--aead", "rot13", "wg0"], ["--queue", "lifo", "wg0"]] {
            let error = read(&arguments).unwrap_err();
            assert_eq!(exit_code(&error), 1);
            assert!(error.to_string().contains(if arguments[0] == "--aead" { " portable" } else { "fifo" }));
        }
    }

    #[test]
    fn a_configuration_file_is_named_before_or_behind_the_interface() {
        assert_eq!(read(&["wg0"]).unwrap().config, None);
        for arguments in [["--config", "a b", "wg0"], ["wg0", "--config", "a b"]] {
            assert_eq!(read(&arguments).unwrap().config, Some(PathBuf::from("a b")));
        }
        assert_eq!(exit_code(&read(&["wg0", "--config"]).unwrap_err()), 1);
    }

    #[test]
    fn the_environment_is_read_as_wireguard_go_reads_it() {
        let read = |variables: &[(&str, &str)]| {
            Environment::read(|name| {
                variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
            })
        };
        let nothing = Environment { foreground: false, log_level: LogLevel::Error, wants_log: false };
        assert_eq!(read(&[]), nothing);
        assert_eq!(read(&[("LOG_LEVEL", ""), ("WG_PROCESS_FOREGROUND", "0")]), nothing);
        assert_eq!(
            read(&[("LOG_LEVEL", "verbose"), ("WG_PROCESS_FOREGROUND", "1")]),
            Environment { foreground: true, log_level: LogLevel::Debug, wants_log: true }
        );
        assert_eq!(
            read(&[("LOG_LEVEL", "silent")]),
            Environment { log_level: LogLevel::Silent, ..nothing },
            "a silent daemon needs no standard error"
        );
        assert_eq!(read(&[("LOG_LEVEL", "error")]), Environment { wants_log: true, ..nothing });
    }

    #[test]
    fn the_command_is_consistent() {
        Command::definition().debug_assert();
    }
}
