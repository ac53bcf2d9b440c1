//! Every kind of bad value, with the errno it gets and the state it leaves alone (U16), and the good values next to it.

use wg_proto::PrivateKey;

use crate::model::{Model, REFUSED_MARK, TAKEN_PORT};

const OK: i32 = 0;
const EIO: i32 = 5;
const EINVAL: i32 = 22;
const EPROTO: i32 = 71;
const EADDRINUSE: i32 = 98;

/// Lines before any `public_key`.
#[test]
fn bad_device_lines_are_refused_and_change_nothing() {
    let hex = "ab".repeat(32);
    let long = "x".repeat(1 << 20);
    for (line, errno) in [
        // No value, and no key.
        ("private_key=", EINVAL),
        ("listen_port=", EINVAL),
        ("fwmark=", EINVAL),
        ("replace_peers=", EINVAL),
        ("=", EINVAL),
        ("=true", EINVAL),
        ("private_key", EPROTO),
        ("listen_port", EPROTO),
        (" ", EPROTO),
        // Keys.
        (&*format!("private_key={}", &hex[1..]), EINVAL),
        (&*format!("private_key={hex}0"), EINVAL),
        (&*format!("private_key={}g", &hex[1..]), EINVAL),
        (&*format!("private_key= {}", &hex[1..]), EINVAL),
        (&*format!("private_key=0x{}", &hex[2..]), EINVAL),
        (&*format!("private_key={}é", &hex[2..]), EINVAL),
        // Numbers.
        ("listen_port=65536", EINVAL),
        ("listen_port=-1", EINVAL),
        ("listen_port=+1", EINVAL),
        ("listen_port=0x10", EINVAL),
        ("listen_port=1 ", EINVAL),
        ("listen_port= 1", EINVAL),
        ("listen_port=1.0", EINVAL),
        ("listen_port=99999999999999999999999", EINVAL),
        ("fwmark=4294967296", EINVAL),
        ("fwmark=0x1", EINVAL),
        ("fwmark=off", EINVAL),
        ("fwmark=-1", EINVAL),
        // Booleans.
        ("replace_peers=TRUE", EINVAL),
        ("replace_peers=1", EINVAL),
        ("replace_peers=false", EINVAL),
        ("replace_peers=true ", EINVAL),
        // Keys that are unknown, written otherwise, or a peer's (U13).
        ("private-key=true", EINVAL),
        ("Listen_Port=1", EINVAL),
        ("set=1", EINVAL),
        ("errno=0", EINVAL),
        (&*format!("preshared_key={hex}"), EINVAL),
        ("endpoint=192.0.2.1:1", EINVAL),
        ("allowed_ip=10.0.0.0/8", EINVAL),
        ("replace_allowed_ips=true", EINVAL),
        ("persistent_keepalive_interval=1", EINVAL),
        ("update_only=true", EINVAL),
        ("remove=true", EINVAL),
        ("protocol_version=1", EINVAL),
        // Bytes that are not text.
        ("listen_port=1\0", EINVAL),
        ("\0listen_port=1", EINVAL),
        ("\0", EPROTO),
        ("listen_port=1\r2", EINVAL),
        (&*long, EIO),
        // Refused by the system.
        (&*format!("listen_port={TAKEN_PORT}"), EADDRINUSE),
        (&*format!("fwmark={REFUSED_MARK}"), EADDRINUSE),
    ] {
        let mut device = configured();
        let before = device.get();
        let shown = &line[..line.len().min(80)];
        assert_eq!(device.set(format!("{line}\n\n")), errno, "{shown:?}");
        assert_eq!(device.get(), before, "{shown:?} changed something");
        // The lines before stay, the lines behind are not reached.
        assert_eq!(device.set(format!("listen_port=1001\n{line}\nfwmark=77\n\n")), errno, "{shown:?}");
        assert_eq!((device.listen_port, device.firewall_mark), (1001, 9), "{shown:?}");
    }
}

/// Lines behind a `public_key`.
#[test]
fn bad_peer_lines_are_refused_and_change_nothing() {
    let hex = "ab".repeat(32);
    for (line, errno) in [
        ("public_key=", EINVAL),
        (&*format!("public_key={}", &hex[1..]), EINVAL),
        (&*format!("public_key={hex}0"), EINVAL),
        (&*format!("public_key={}z", &hex[1..]), EINVAL),
        ("public_key", EPROTO),
        ("preshared_key=", EINVAL),
        (&*format!("preshared_key={}", &hex[1..]), EINVAL),
        (&*format!("preshared_key={hex}0"), EINVAL),
        (&*format!("preshared_key={}:", &hex[1..]), EINVAL),
        ("update_only=TRUE", EINVAL),
        ("update_only=1", EINVAL),
        ("update_only=", EINVAL),
        ("remove=false", EINVAL),
        ("remove=", EINVAL),
        ("replace_allowed_ips=True", EINVAL),
        ("replace_allowed_ips=", EINVAL),
        ("persistent_keepalive_interval=65536", EINVAL),
        ("persistent_keepalive_interval=off", EINVAL),
        ("persistent_keepalive_interval=-1", EINVAL),
        ("persistent_keepalive_interval=", EINVAL),
        ("endpoint=", EINVAL),
        ("endpoint=:", EINVAL),
        ("endpoint=192.0.2.1", EINVAL),
        ("endpoint=192.0.2.1:", EINVAL),
        ("endpoint=192.0.2.1:65536", EINVAL),
        ("endpoint=192.0.2.1:+1", EINVAL),
        ("endpoint=192.0.2.256:1", EINVAL),
        ("endpoint=192.0.2.01:1", EINVAL),
        ("endpoint=192.0.2:1", EINVAL),
        ("endpoint=[192.0.2.1]:1", EINVAL),
        ("endpoint=[::1", EINVAL),
        ("endpoint=[::1]", EINVAL),
        ("endpoint=[::1]1", EINVAL),
        ("endpoint=::1]:1", EINVAL),
        ("endpoint=::1:1", EINVAL),
        ("endpoint=2001:db8::1:51820", EINVAL),
        ("endpoint=[::g]:1", EINVAL),
        ("endpoint=[fe80::1%]:1", EINVAL),
        ("endpoint=[fe80::1%no-such-zone]:1", EINVAL),
        ("endpoint=[fe80::1%sixteen-bytes-xx]:1", EINVAL),
        ("endpoint=localhost:1", EINVAL),
        ("endpoint=example.com:51820", EINVAL),
        ("endpoint= 192.0.2.1:1", EINVAL),
        ("endpoint=192.0.2.1:1 ", EINVAL),
        ("allowed_ip=", EINVAL),
        ("allowed_ip=-", EINVAL),
        ("allowed_ip=/", EINVAL),
        ("allowed_ip=1.2.3.4", EINVAL),
        ("allowed_ip=fd00::", EINVAL),
        ("allowed_ip=1.2.3.4/", EINVAL),
        ("allowed_ip=/8", EINVAL),
        ("allowed_ip=1.2.3.4/33", EINVAL),
        ("allowed_ip=1.2.3.4/-1", EINVAL),
        ("allowed_ip=1.2.3.4/+8", EINVAL),
        ("allowed_ip=1.2.3.4/08", EINVAL),
        ("allowed_ip=1.2.3.4/256", EINVAL),
        ("allowed_ip=1.2.3.4/255.0.0.0", EINVAL),
        ("allowed_ip=fd00::/129", EINVAL),
        ("allowed_ip=fe80::1%lo/64", EINVAL),
        ("allowed_ip=1.2.3/24", EINVAL),
        ("allowed_ip=--1.2.3.4/32", EINVAL),
        ("allowed_ip=+1.2.3.4/32", EINVAL),
        ("allowed_ip=1.2.3.4/32,1.2.3.5/32", EINVAL),
        ("protocol_version=0", EINVAL),
        ("protocol_version=2", EINVAL),
        ("protocol_version=", EINVAL),
        ("protocol_version=01", EINVAL),
        // Device keys, and those of replies.
        (&*format!("private_key={hex}"), EINVAL),
        ("listen_port=1", EINVAL),
        ("fwmark=1", EINVAL),
        ("replace_peers=true", EINVAL),
        ("rx_bytes=1", EINVAL),
        ("last_handshake_time_sec=1", EINVAL),
        ("=", EINVAL),
        ("remove", EPROTO),
    ] {
        let mut device = configured();
        let before = device.get();
        let peer = format!("public_key={}", "11".repeat(32));
        assert_eq!(device.set(format!("{peer}\n{line}\n\n")), errno, "{line:?}");
        assert_eq!(device.get(), before, "{line:?} changed something");
        assert_eq!(
            device.set(format!("{peer}\npersistent_keepalive_interval=5\n{line}\nremove=true\n\n")),
            errno,
            "{line:?}"
        );
        assert_eq!(device.peers.len(), 1, "{line:?} did not stop the set");
        assert_eq!(device.peers[0].keepalive, 5, "{line:?} took back the line before it");
    }
}

/// The rows of U16 in their order, each with its errno; clients that misbehave are in [`crate::clients`].
#[test]
fn every_row_of_the_table_of_bad_input_has_its_errno_and_changes_nothing_else() {
    let hex = "ab".repeat(32);
    let (short, long) = (&hex[1..], format!("{hex}a"));
    let mut not_hex = hex.clone();
    not_hex.replace_range(31..32, "g");
    let mebibyte = "x".repeat(1 << 20);
    let own = hex_of(PrivateKey::from_bytes([0xc0; 32]).public_key().as_bytes());
    let same = "11".repeat(32);
    let device: &[(&str, i32)] = &[
        ("private_key=", EINVAL),
        ("listen_port=", EINVAL),
        ("fwmark=", EINVAL),
        ("replace_peers=", EINVAL),
        (&format!("private_key={short}"), EINVAL),
        (&format!("private_key={long}"), EINVAL),
        (&format!("private_key={not_hex}"), EINVAL),
        ("listen_port=65536", EINVAL),
        ("listen_port=-1", EINVAL),
        ("listen_port=0x10", EINVAL),
        ("listen_port=1 ", EINVAL),
        ("fwmark=4294967296", EINVAL),
        ("replace_peers=TRUE", EINVAL),
        ("replace_peers=1", EINVAL),
        ("replace_peers=false", EINVAL),
        ("no_such_key=1", EINVAL),
        ("=", EINVAL),
        ("fwmark=1\r\r", EINVAL),
        ("fwmark=1\0", EINVAL),
        (&mebibyte, EIO),
    ];
    let peer: &[(&str, i32)] = &[
        ("public_key=", EINVAL),
        ("preshared_key=", EINVAL),
        ("endpoint=", EINVAL),
        ("persistent_keepalive_interval=", EINVAL),
        ("allowed_ip=", EINVAL),
        ("update_only=", EINVAL),
        ("remove=", EINVAL),
        ("replace_allowed_ips=", EINVAL),
        ("protocol_version=", EINVAL),
        (&format!("public_key={short}"), EINVAL),
        (&format!("public_key={long}"), EINVAL),
        (&format!("public_key={not_hex}"), EINVAL),
        (&format!("preshared_key={short}"), EINVAL),
        (&format!("preshared_key={long}"), EINVAL),
        (&format!("preshared_key={not_hex}"), EINVAL),
        ("persistent_keepalive_interval=65536", EINVAL),
        ("persistent_keepalive_interval=-1", EINVAL),
        ("persistent_keepalive_interval=0x10", EINVAL),
        ("persistent_keepalive_interval=1 ", EINVAL),
        ("update_only=TRUE", EINVAL),
        ("update_only=1", EINVAL),
        ("update_only=false", EINVAL),
        ("remove=TRUE", EINVAL),
        ("remove=1", EINVAL),
        ("remove=false", EINVAL),
        ("replace_allowed_ips=TRUE", EINVAL),
        ("replace_allowed_ips=1", EINVAL),
        ("replace_allowed_ips=false", EINVAL),
        ("endpoint=192.0.2.1", EINVAL),
        ("endpoint=[::1", EINVAL),
        ("endpoint=gateway.example.org:51820", EINVAL),
        ("endpoint=2001:db8::1:51820", EINVAL),
        ("allowed_ip=1.2.3.4", EINVAL),
        ("allowed_ip=1.2.3.4/33", EINVAL),
        ("allowed_ip=fd00::/129", EINVAL),
        ("allowed_ip=1.2.3.4/", EINVAL),
        ("allowed_ip=-", EINVAL),
        ("protocol_version=0", EINVAL),
        ("protocol_version=2", EINVAL),
        ("no_such_key=1", EINVAL),
        ("=", EINVAL),
        ("endpoint=192.0.2.1:1\r\r", EINVAL),
        ("endpoint=192.0.2.1:1\0", EINVAL),
        (&mebibyte, EIO),
    ];
    for (section, rows) in [(String::new(), device), (format!("public_key={same}\n"), peer)] {
        for (line, errno) in rows {
            let shown = &line[..line.len().min(80)];
            let mut model = configured();
            let before = model.get();
            assert_eq!(model.set(format!("{section}{line}\n\n")), *errno, "{shown:?}");
            assert_eq!(model.get(), before, "{shown:?} changed something");
        }
    }
    // The rows that are no errors: what they change is what they say, and nothing else.
    for (body, changed, from, to) in [
        (format!("public_key={same}\nendpoint=192.0.2.9:0\n\n"), true, "192.0.2.9:9", "192.0.2.9:0"),
        (
            format!("public_key={same}\nallowed_ip=::ffff:1.2.3.4/128\n\n"),
            true,
            "fd00::/8\n",
            "fd00::/8\nallowed_ip=::ffff:1.2.3.4/128\n",
        ),
        ("fwmark=7\r\n\r\n".to_owned(), true, "fwmark=9", "fwmark=7"),
        (
            format!("public_key={own}\nendpoint=192.0.2.7:7\nallowed_ip=10.0.0.0/8\nremove=true\n\n"),
            false,
            "",
            "",
        ),
        (
            format!(
                "public_key={same}\npersistent_keepalive_interval=1\npublic_key={same}\npersistent_keepalive_interval=2\n\n"
            ),
            true,
            "interval=25",
            "interval=2",
        ),
    ] {
        let mut model = configured();
        let before = model.get();
        assert_eq!(model.set(&body), OK, "{body:?}");
        let expected = if changed { before.replacen(from, to, 1) } else { before };
        assert_eq!(model.get(), expected, "{body:?}");
    }
    let mut model = configured();
    let removed = format!("public_key={same}\nremove=true\nendpoint=192.0.2.7:7\nallowed_ip=10.0.0.0/8\n\n");
    assert_eq!(model.set(removed), OK);
    assert!(model.peers.is_empty(), "the rest of a removed peer's lines does nothing");
    // Even there a bad value is an error.
    let mut model = configured();
    assert_eq!(model.set(format!("public_key={same}\nremove=true\nallowed_ip=1.2.3.4\n\n")), EINVAL);
}

#[test]
fn a_set_of_a_million_lines_is_applied_and_one_of_more_than_the_bound_stops_there() {
    // U8, U16
    let million = "listen_port=1\n".repeat(999_999) + "fwmark=3\n";
    let mut device = Model::default();
    assert_eq!(device.set(million + "\n"), OK);
    assert_eq!(device.mark_and_port(), (3, 1));
    let more = "listen_port=1\n".repeat(1 << 20) + "fwmark=3\n";
    let mut device = Model::default();
    assert_eq!(device.set(more + "\n"), EIO);
    assert_eq!(device.mark_and_port(), (0, 1), "the lines before stay");
}

fn hex_of(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn good_device_lines_are_shown_by_a_get() {
    let mixed = "aBcDeF01".repeat(8);
    for (line, shown) in [
        (&*format!("private_key={mixed}"), &*format!("private_key=a8{}41\n", &mixed.to_lowercase()[2..62])),
        ("listen_port=65535", "listen_port=65535\n"),
        ("listen_port=00080", "listen_port=80\n"),
        ("listen_port=0", "listen_port=43210\n"),
        ("fwmark=4294967295", "fwmark=4294967295\n"),
        ("listen_port=7\r", "listen_port=7\n"),
    ] {
        let mut device = Model::default();
        assert_eq!(device.set(format!("{line}\n\n")), OK, "{line:?}");
        assert_eq!(device.get(), format!("{shown}errno=0\n\n"), "{line:?}");
    }
    let mut device = configured();
    let nothing = format!("private_key={}\nlisten_port=1\nfwmark=0\nreplace_peers=true\n\n", "0".repeat(64));
    assert_eq!(device.set(nothing), OK);
    assert_eq!(device.get(), "listen_port=1\nerrno=0\n\n");
}

#[test]
fn good_peer_lines_are_shown_by_a_get() {
    for (line, shown) in [
        (&*format!("preshared_key={}", "Fe".repeat(32)), &*format!("preshared_key={}\n", "fe".repeat(32))),
        ("endpoint=192.0.2.1:65535", "endpoint=192.0.2.1:65535\n"),
        ("endpoint=192.0.2.1:0", "endpoint=192.0.2.1:0\n"),
        ("endpoint=192.0.2.1:00080", "endpoint=192.0.2.1:80\n"),
        ("endpoint=[2001:DB8:0::1]:1", "endpoint=[2001:db8::1]:1\n"),
        ("endpoint=[fe80::1%lo]:1", "endpoint=[fe80::1%1]:1\n"),
        ("endpoint=[fe80::1%42]:1", "endpoint=[fe80::1%42]:1\n"),
        ("endpoint=[::ffff:192.0.2.1]:1", "endpoint=192.0.2.1:1\n"),
        ("persistent_keepalive_interval=65535", "persistent_keepalive_interval=65535\n"),
        ("protocol_version=1", "protocol_version=1\n"),
        ("allowed_ip=1.2.3.4/0", "allowed_ip=0.0.0.0/0\n"),
        ("allowed_ip=1.2.3.4/31", "allowed_ip=1.2.3.4/31\n"),
        ("allowed_ip=1.2.3.255/24", "allowed_ip=1.2.3.0/24\n"),
        ("allowed_ip=::/0", "allowed_ip=::/0\n"),
        ("allowed_ip=fd00::ffff/112", "allowed_ip=fd00::/112\n"),
        ("allowed_ip=::ffff:1.2.3.4/128", "allowed_ip=::ffff:1.2.3.4/128\n"),
    ] {
        let mut device = Model::default();
        assert_eq!(device.set(format!("public_key={}\n{line}\n\n", "2B".repeat(32))), OK, "{line:?}");
        let text = device.get();
        assert!(text.starts_with(&format!("public_key={}\n", "2b".repeat(32))), "{text}");
        assert!(text.contains(shown), "{line:?} gave {text}");
    }
}

#[test]
fn a_missing_blank_line_is_forgiven_and_a_torn_line_is_not() {
    let mut device = Model::default();
    assert_eq!(device.set("listen_port=1\n"), OK);
    assert_eq!(device.listen_port, 1);
    assert_eq!(device.set("fwmark=3\nlisten_port=518"), EIO);
    assert_eq!((device.firewall_mark, device.listen_port), (3, 1));
}

#[test]
fn a_set_of_130_560_allowed_ips_is_applied_whole() {
    let mut body = format!("public_key={}\n", "33".repeat(32));
    for n in 0..130_560_u32 {
        body.push_str(&format!("allowed_ip={}/32\n", core::net::Ipv4Addr::from_bits(0x0a00_0000 + n)));
    }
    let mut device = Model::default();
    assert_eq!(device.set(body + "\n"), OK);
    assert_eq!(device.peers[0].allowed_ips.len(), 130_560);
}

/// A device with everything set and one peer, `11..`.
fn configured() -> Model {
    let mut device = Model::default();
    let body = format!(
        "private_key={}\nlisten_port=1000\nfwmark=9\npublic_key={}\npreshared_key={}\nendpoint=192.0.2.9:9\n\
         persistent_keepalive_interval=25\nallowed_ip=10.0.0.0/8\nallowed_ip=fd00::/8\n\n",
        "c0".repeat(32),
        "11".repeat(32),
        "dd".repeat(32),
    );
    assert_eq!(device.set(body), OK);
    device
}
