//! The real `wg` against the server: what it sets is what it shows.
//!
//! Needs root, for `/var/run/wireguard`, and `wg`; without them it says so and passes.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use wg_gateway::uapi::Limits;
use wg_proto::PrivateKey;

use crate::rig::Rig;

const SOCKETS: &str = "/var/run/wireguard";

#[test]
fn wg_set_and_wg_show_round_trip() {
    let Some(bench) = Bench::new("a") else { return };
    let (private, peer, psk) =
        (b64(PrivateKey::from_bytes([7; 32]).as_bytes()), b64(&[0x42; 32]), b64(&[0x99; 32]));
    let public = b64(PrivateKey::from_bytes([7; 32]).public_key().as_bytes());
    let private_file = bench.file("private", &format!("{private}\n"));
    let psk_file = bench.file("psk", &format!("{psk}\n"));
    bench.wg(&["set", "NAME", "private-key", &private_file, "listen-port", "51999", "fwmark", "0x2a"]);
    bench.wg(&["set", "NAME", "peer", &peer, "preshared-key", &psk_file, "endpoint", "192.0.2.1:51820"]);
    bench.wg(&[
        "set",
        "NAME",
        "peer",
        &peer,
        "persistent-keepalive",
        "25",
        "allowed-ips",
        "10.1.2.3/8,fd00::/64,::/0",
    ]);

    assert_eq!(
        bench.wg(&["show", "NAME", "dump"]),
        format!(
            "{private}\t{public}\t51999\t0x2a\n\
             {peer}\t{psk}\t192.0.2.1:51820\t10.0.0.0/8,fd00::/64,::/0\t0\t0\t0\t25\n"
        )
    );
    assert!(bench.wg(&["show", "interfaces"]).contains(&bench.name));

    // Changing one thing leaves the others, and removing takes the peer.
    bench.wg(&["set", "NAME", "peer", &peer, "endpoint", "[fe80::1%lo]:7", "persistent-keepalive", "off"]);
    assert_eq!(
        bench.wg(&["show", "NAME", "dump"]).lines().nth(1).unwrap(),
        format!("{peer}\t{psk}\t[fe80::1%lo]:7\t10.0.0.0/8,fd00::/64,::/0\t0\t0\t0\toff")
    );
    bench.wg(&["set", "NAME", "peer", &peer, "preshared-key", "/dev/null", "allowed-ips", ""]);
    assert_eq!(
        bench.wg(&["show", "NAME", "dump"]).lines().nth(1).unwrap(),
        format!("{peer}\t(none)\t[fe80::1%lo]:7\t(none)\t0\t0\t0\toff")
    );
    bench.wg(&["set", "NAME", "fwmark", "off", "private-key", "/dev/null", "peer", &peer, "remove"]);
    assert_eq!(bench.wg(&["show", "NAME", "dump"]), "(none)\t(none)\t51999\toff\n");
}

#[test]
fn wg_setconf_addconf_and_syncconf_bring_about_the_file() {
    let Some(bench) = Bench::new("b") else { return };
    let private = b64(PrivateKey::from_bytes([9; 32]).as_bytes());
    let (one, two, three) = (b64(&[1; 32]), b64(&[2; 32]), b64(&[3; 32]));
    let interface = format!("[Interface]\nPrivateKey = {private}\nListenPort = 4000\nFwMark = 7\n");
    let peer = |key: &str, ips: &str| format!("[Peer]\nPublicKey = {key}\nAllowedIPs = {ips}\n");
    let allowed = |bench: &Bench| bench.wg(&["show", "NAME", "allowed-ips"]);

    let file =
        bench.file("conf", &(interface.clone() + &peer(&one, "10.0.0.0/24") + &peer(&two, "10.0.1.0/24")));
    bench.wg(&["setconf", "NAME", &file]);
    assert_eq!(allowed(&bench), format!("{one}\t10.0.0.0/24\n{two}\t10.0.1.0/24\n"));

    let file = bench.file("conf", &peer(&three, "10.0.0.0/24"));
    bench.wg(&["addconf", "NAME", &file]);
    assert_eq!(allowed(&bench), format!("{one}\t(none)\n{two}\t10.0.1.0/24\n{three}\t10.0.0.0/24\n"));

    bench.rig.device().take_events();
    let file =
        bench.file("conf", &(interface.clone() + &peer(&three, "10.0.3.0/24") + &peer(&two, "10.0.1.0/24")));
    bench.wg(&["syncconf", "NAME", &file]);
    assert_eq!(allowed(&bench), format!("{two}\t10.0.1.0/24\n{three}\t10.0.3.0/24\n"));

    // What is not in the file is reset, and of two blocks for one key the second wins (W4).
    let file = bench
        .file("conf", &("[Interface]\n".to_owned() + &peer(&one, "10.0.0.0/24") + &peer(&one, "fd00::/8")));
    bench.wg(&["setconf", "NAME", &file]);
    assert_eq!(
        bench.wg(&["show", "NAME", "dump"]),
        format!("(none)\t(none)\t43210\toff\n{one}\t(none)\t(none)\tfd00::/8\t0\t0\t0\toff\n")
    );
}

#[test]
fn wg_reports_the_error_of_a_set_by_name() {
    // U10: this is why the number is negative.
    let Some(bench) = Bench::new("c") else { return };
    let output = bench.run(&["set", "NAME", "listen-port", "22"]);
    assert!(!output.status.success());
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.contains("Address already in use"), "{message}");
}

#[test]
fn wg_sets_and_shows_130_560_allowed_ips() {
    let Some(bench) = Bench::new("d") else { return };
    let key = b64(&[5; 32]);
    let mut conf = format!("[Interface]\nListenPort = 1\n[Peer]\nPublicKey = {key}\n");
    for n in 0..130_560_u32 {
        conf += &format!("AllowedIPs = {}/32\n", core::net::Ipv4Addr::from_bits(0x0a00_0000 + n));
    }
    let file = bench.file("conf", &conf);
    bench.wg(&["setconf", "NAME", &file]);
    assert_eq!(bench.rig.device().peers[0].allowed_ips.len(), 130_560);
    let shown = bench.wg(&["show", "NAME", "allowed-ips"]);
    assert_eq!(shown.split_whitespace().count(), 130_561);
}

/// A server where `wg` looks for it, and a directory for files.
pub(crate) struct Bench {
    name: String,
    pub(crate) rig: Rig,
    directory: PathBuf,
}

impl Bench {
    pub(crate) fn new(tag: &str) -> Option<Self> {
        if Command::new("wg").arg("--version").output().is_err() {
            println!("skipped: `wg` is not installed (package wireguard-tools)");
            return None;
        }
        let made = fs::DirBuilder::new().recursive(true).mode(0o755).create(SOCKETS);
        let writable = made.is_ok() && {
            let probe = Path::new(SOCKETS).join(format!(".wgsock-probe-{}{tag}", std::process::id()));
            fs::write(&probe, "").is_ok() && fs::remove_file(&probe).is_ok()
        };
        if !writable {
            println!("skipped: {SOCKETS} cannot be written to (not root)");
            return None;
        }
        let name = format!("wgsock{}{tag}", std::process::id());
        let rig = Rig::at(&Path::new(SOCKETS).join(format!("{name}.sock")), Limits::default());
        let directory = std::env::temp_dir().join(&name);
        fs::create_dir_all(&directory).unwrap();
        Some(Self { name, rig, directory })
    }

    pub(crate) fn file(&self, name: &str, content: &str) -> String {
        let path = self.directory.join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> std::process::Output {
        let arguments = arguments.iter().map(|argument| argument.replace("NAME", &self.name));
        Command::new("wg").args(arguments).env("WG_ENDPOINT_RESOLUTION_RETRIES", "0").output().unwrap()
    }

    /// Runs `wg`, which must succeed, and returns what it prints.
    pub(crate) fn wg(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "wg {arguments:?}: {message}");
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn b64(key: &[u8; 32]) -> String {
    STANDARD.encode(key)
}
