//! A gateway that is started with its configuration: `wg-gateway --config FILE IFNAME`, without `wg` or `wg-quick`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rustix::process::{Signal, kill_process};
use wg_netns::key::{Key, KeyPair};
use wg_netns::launch::with_environment;
use wg_netns::node::PORT;
use wg_netns::ping::Ping;
use wg_netns::requirements::can_run;
use wg_netns::tunnel::PATIENCE;
use wg_netns::{Family, Namespace, Program, cleanup, uapi, veth, wait};

/// W1, W2, U1: two gateways in the background that know each other from their files alone exchange packets, over IPv4 and
/// over IPv6, in whatever form a file may give the endpoints.
#[test]
fn two_gateways_by_file_exchange_packets() {
    if !can_run() {
        return;
    }
    for (outside, endpoints) in [
        (Family::V4, ["10.0.0.2:51820", "10.0.1:51820"]),
        (Family::V4, ["[::ffff:10.0.0.2]:51820", "[10.0.0.1]:0051820"]),
        (Family::V6, ["[fd00::2]:51820", "fd00::1:51820"]),
    ] {
        let psk = Key::random();
        let (a, b) = (Host::new(1), Host::new(2));
        let cable = veth::connect(&a.namespace, &b.namespace);
        for (host, link) in [(&a, &cable.first), (&b, &cable.second)] {
            host.namespace.ip(&format!("addr add 10.0.0.{}/24 dev {link}", host.number));
            host.namespace.ip(&format!("addr add fd00::{}/64 dev {link} nodad", host.number));
        }
        for (host, other, endpoint) in [(&a, &b, endpoints[0]), (&b, &a, endpoints[1])] {
            let output = host.start(&format!(
                "# host {}\n[Interface]\nPrivateKey = {}\nListenPort = {PORT}\n\n\
                 [Peer]\nPublicKey = {}\nPresharedKey = {psk}\nEndpoint = {endpoint}\n\
                 AllowedIPs = 10.1.0.{}/32, fd01::{}\n",
                host.number, host.keys.private, other.keys.public, other.number, other.number
            ));
            assert!(output.status.success(), "{output:?}");
            host.take_up();
        }
        for inside in ["10.1.0.2", "fd01::2"] {
            let ping = Ping::to(inside.parse().expect("an address"));
            let reached = wait::until(PATIENCE, || ping.run(&a.namespace).received == 1);
            assert!(reached, "{inside} through {outside:?}, {endpoints:?}");
        }
        let status = uapi::get(&b.interface).expect("an answer");
        let peer = status.peer(&a.keys.public).expect("the peer");
        assert!(peer.latest_handshake > 0);
        assert_eq!(peer.preshared_key, Some(psk));
        assert_eq!(peer.endpoint.map(|endpoint| endpoint.is_ipv4()), Some(outside == Family::V4));
    }
}

/// W1, W4: a file with a mistake leaves neither process nor interface nor socket; the message says where it is.
#[test]
fn a_file_with_a_mistake_leaves_nothing_behind() {
    if !can_run() {
        return;
    }
    let host = Host::new(1);
    let peers: String = (0..=u16::MAX)
        .map(|n| {
            let mut key = [9; 32];
            key[..2].copy_from_slice(&n.to_le_bytes());
            format!("[Peer]\nPublicKey = {}\n", Key::from_bytes(key))
        })
        .collect();
    for (text, words) in [
        (format!("[Interface]\nPrivateKey = {}\nAddress = 10.1.0.1/24\n", host.keys.private), ":3: "),
        (
            format!(
                "[Interface]\n[Peer]\nPublicKey = {}\nEndpoint = 10.0.0.1:no-service\n",
                host.keys.public
            ),
            ":4: ",
        ),
        // One more than there can be.
        (peers + "[Peer]\nPublicKey = AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n", ":131073: "),
    ] {
        let output = host.start(&text);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(message.contains(&format!("conf{words}")), "{message}");
        assert!(!message.contains(&host.keys.private.to_string()), "{message}");
        assert!(host.namespace.processes().is_empty());
        assert!(!host.namespace.has_interface(&host.interface));
        assert!(!uapi::socket_path(&host.interface).exists());
    }
}

/// W2, U1: a command that is interrupted while it looks up a name leaves no process behind that goes on trying.
#[test]
fn an_interrupted_start_leaves_nothing_behind() {
    if !can_run() {
        return;
    }
    // No link, so no name server: a failure that may pass.
    let host = Host::new(1);
    let file = host.file(&format!("[Peer]\nPublicKey = {}\nEndpoint = vpn.invalid:5\n", host.keys.public));
    let mut command = host.command(&file);
    let mut parent = command.env("WG_ENDPOINT_RESOLUTION_RETRIES", "infinity").spawn().expect("starting it");
    let both = wait::until(PATIENCE, || host.namespace.processes().len() == 2);
    if parent.try_wait().expect("its state").is_some() {
        println!("skipped: the name is looked up outside of the namespace");
        return;
    }
    assert!(both, "parent and child");
    parent.kill().expect("the parent");
    parent.wait().expect("the parent");
    let gone = wait::until(PATIENCE, || host.namespace.processes().is_empty());
    assert!(gone && !host.namespace.has_interface(&host.interface));
    assert!(!uapi::socket_path(&host.interface).exists());
}

/// W4: the file is where it begins; `wg` changes it afterwards.
#[test]
fn a_pipe_is_a_file_and_the_socket_changes_what_it_said() {
    if !can_run() {
        return;
    }
    let host = Host::new(1);
    // As a shell does it for `--config <(wg-quick strip wg0)`.
    let script = format!(
        "printf '[Interface]\\nListenPort = {PORT}\\nFwMark = 0x10\\n' | \
         {{ exec 9<&0 0</dev/null; exec \"$0\" --config /dev/fd/9 {}; }}",
        host.interface
    );
    let mut command = host.namespace.command("sh");
    let output = command.args(["-c", &script]).arg(Program::Gateway.path()).output().expect("starting it");
    assert!(output.status.success(), "{output:?}");
    let status = uapi::get(&host.interface).expect("an answer");
    assert_eq!((status.listen_port, status.fwmark), (PORT, 16));
    assert_eq!(uapi::set(&host.interface, "fwmark=0\n").expect("an answer"), 0);
    assert_eq!(uapi::get(&host.interface).expect("an answer").fwmark, 0);
}

/// A namespace with a gateway in the background, which is told to end when this is dropped.
struct Host {
    namespace: Namespace,
    interface: String,
    directory: PathBuf,
    keys: KeyPair,
    number: u8,
}

impl Host {
    fn new(number: u8) -> Self {
        Self {
            namespace: Namespace::new(),
            interface: cleanup::unique_name(),
            directory: cleanup::unique_directory(),
            keys: KeyPair::generate(),
            number,
        }
    }

    /// Runs the command that starts the gateway in the background.
    fn start(&self, configuration: &str) -> Output {
        self.command(&self.file(configuration)).output().expect("starting it")
    }

    fn file(&self, configuration: &str) -> PathBuf {
        let file = self.directory.join("conf");
        fs::write(&file, configuration).expect("the configuration");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("its permissions");
        file
    }

    fn command(&self, file: &Path) -> Command {
        let mut command = self.namespace.command(Program::Gateway.path());
        command
            .args(with_environment(&[]))
            .arg("--config")
            .arg(file)
            .arg(&self.interface)
            .stdin(Stdio::null());
        command
    }

    fn take_up(&self) {
        let (interface, number) = (&self.interface, self.number);
        self.namespace.ip(&format!("addr add 10.1.0.{number}/24 dev {interface}"));
        self.namespace.ip(&format!("addr add fd01::{number}/64 dev {interface} nodad"));
        self.namespace.ip(&format!("link set {interface} up"));
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        for process in self.namespace.processes() {
            // One that has ended meanwhile is what is wanted.
            kill_process(process, Signal::TERM).ok();
        }
        wait::until(PATIENCE, || self.namespace.processes().is_empty());
        fs::remove_dir_all(&self.directory).ok();
    }
}
