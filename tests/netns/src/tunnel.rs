//! A running program with its interface, inside a namespace.

use core::time::Duration;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::status::Status;
use crate::{Launch, Namespace, Program, autopsy, cleanup, uapi, wait, wg};

/// How long a program may take to come up or to end before a test calls it stuck.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// A program in the foreground, its interface and its log. Dropping it kills the program.
#[derive(Debug)]
pub struct Tunnel {
    launch: Launch,
    interface: String,
    child: Child,
    log: PathBuf,
    /// Another value has the same name by now, and its socket.
    replaced: bool,
}

impl Tunnel {
    /// Starts a program in `namespace` and waits until interface and socket are there.
    ///
    /// # Panics
    ///
    /// When the program does not come up; the message holds its log, and what it was doing.
    #[track_caller]
    pub fn start(launch: impl Into<Launch>, namespace: &Namespace) -> Self {
        Self::start_named(launch, namespace, &cleanup::unique_name())
    }

    /// Like [`Self::start`], with a given interface name, which must begin like [`cleanup::unique_name`]'s.
    ///
    /// # Panics
    ///
    /// When the program does not come up; the message holds its log, and what it was doing.
    #[track_caller]
    pub fn start_named(launch: impl Into<Launch>, namespace: &Namespace, interface: &str) -> Self {
        let launch = launch.into();
        let mut log = String::new();
        for _ in 0..launch.start_attempts() {
            let mut command = launch.command(namespace, interface);
            command.stdin(Stdio::null());
            let mut tunnel = Self::spawn(launch.program, interface, command);
            tunnel.launch = launch.clone();
            if tunnel.comes_up(namespace) {
                return tunnel;
            }
            log = tunnel.log() + "\n" + &autopsy::report(tunnel.pid());
        }
        panic!("{} does not come up:\n{log}", launch.program.name());
    }

    /// Kills the program, if it still runs, and starts it again under the same name.
    ///
    /// # Panics
    ///
    /// When the program does not come up; the message holds its log, and what it was doing.
    #[track_caller]
    pub fn start_again(&mut self, namespace: &Namespace) {
        self.kill();
        self.replaced = true;
        *self = Self::start_named(self.launch.clone(), namespace, &self.interface);
    }

    /// Starts a command that runs `program` for `interface` in the foreground. Does not wait.
    ///
    /// # Panics
    ///
    /// When the command cannot be started.
    #[track_caller]
    pub fn spawn(program: Program, interface: &str, mut command: Command) -> Self {
        let log = cleanup::unique_directory().join("log");
        let output = File::create(&log).expect("the log");
        command.stdout(output.try_clone().expect("the log, twice")).stderr(output);
        Self::spawn_logged(program, interface, command, log)
    }

    /// Like [`Self::spawn`], with descriptors for standard input and output: a way to hand them on that needs no
    /// `unsafe`, since a shell can give them other numbers. The log has what goes to standard error.
    ///
    /// # Panics
    ///
    /// When the command cannot be started.
    #[track_caller]
    pub fn spawn_with(
        program: Program,
        interface: &str,
        mut command: Command,
        input: OwnedFd,
        output: OwnedFd,
    ) -> Self {
        let log = cleanup::unique_directory().join("log");
        command.stdin(input).stdout(output).stderr(File::create(&log).expect("the log"));
        Self::spawn_logged(program, interface, command, log)
    }

    #[track_caller]
    fn spawn_logged(program: Program, interface: &str, mut command: Command, log: PathBuf) -> Self {
        command.process_group(0);
        // Of no effect but on a gateway that was built to give its keys away.
        command.env("WG_KEYLOGFILE", log.with_file_name("keys"));
        let is_said = command.get_envs().any(|(name, _)| name == "LOG_LEVEL");
        if !is_said && std::env::var_os("LOG_LEVEL").is_none() {
            command.env("LOG_LEVEL", "verbose");
        }
        let child = command.spawn().expect("starting `ip netns exec`");
        Self { launch: program.into(), interface: interface.to_owned(), child, log, replaced: false }
    }

    /// Waits for interface and socket; false if the program ended instead.
    pub fn comes_up(&mut self, namespace: &Namespace) -> bool {
        let interface = self.interface.clone();
        let mut up = false;
        wait::until(PATIENCE, || {
            up = namespace.has_interface(&interface) && uapi::get(&interface).is_ok();
            up || !self.is_running()
        });
        up
    }

    /// Which program this is.
    pub const fn program(&self) -> Program {
        self.launch.program
    }

    /// The name of the interface.
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// The UAPI socket.
    pub fn socket(&self) -> PathBuf {
        uapi::socket_path(&self.interface)
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether the program still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // A program that has ended already shows that in its exit status.
            kill_process(pid, signal).ok();
        }
    }

    /// Waits until the program has ended; none if it does not within [`PATIENCE`].
    pub fn wait_for_end(&mut self) -> Option<ExitStatus> {
        wait::find(PATIENCE, || self.child.try_wait().ok().flatten())
    }

    /// Ends the program as `kill -9` does. The socket stays behind, as it would.
    pub fn kill(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }

    /// Runs `wg set INTERFACE ..`; the arguments are separated by spaces.
    ///
    /// # Panics
    ///
    /// When `wg` fails.
    #[track_caller]
    pub fn set(&self, arguments: &str) {
        self.set_with_input(arguments, "");
    }

    /// Runs `wg set INTERFACE ..` with `input` behind `/dev/stdin`.
    ///
    /// # Panics
    ///
    /// When `wg` fails.
    #[track_caller]
    pub fn set_with_input(&self, arguments: &str, input: &str) {
        wg::wg(&format!("set {} {arguments}", self.interface), input);
    }

    /// Runs `wg setconf INTERFACE` with this configuration.
    ///
    /// # Panics
    ///
    /// When `wg` fails.
    #[track_caller]
    pub fn setconf(&self, configuration: &str) {
        wg::wg(&format!("setconf {} /dev/stdin", self.interface), configuration);
    }

    /// What `wg show INTERFACE dump` says.
    ///
    /// # Panics
    ///
    /// When `wg` fails.
    #[track_caller]
    pub fn show(&self) -> Status {
        wg::show(&self.interface)
    }

    /// The keys that a gateway built with the feature `key-log` gave away since its start, as tshark reads them; nothing
    /// from any other program.
    pub fn key_log(&self) -> String {
        fs::read_to_string(self.log.with_file_name("keys")).unwrap_or_default()
    }

    /// What the program said on its standard output and error.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_else(|e: io::Error| format!("no log: {e}"))
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let shown = lines.len().saturating_sub(40);
            let (name, interface) = (self.launch.program.name(), &self.interface);
            let state = autopsy::report(self.pid());
            eprintln!("--- last lines of {name} for {interface}:\n{}\n{state}---", lines[shown..].join("\n"));
        }
        self.kill();
        if !self.replaced {
            fs::remove_file(self.socket()).ok();
        }
        if let Some(directory) = self.log.parent() {
            fs::remove_dir_all(directory).ok();
        }
    }
}
