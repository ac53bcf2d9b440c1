//! The list of the targets: name, body, what it is to reach.

/// A fuzz target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: that of its file in `fuzz_targets`, of its corpus and of its planted bug.
    pub name: &'static str,
    /// What it does with an input.
    pub body: fn(&[u8]),
    /// The dictionary in `dictionaries` it runs with, if there is one for its kind of input.
    pub dictionary: Option<&'static str>,
    /// The longest input worth trying.
    pub max_len: usize,
    /// The files whose code it is there to reach, as they stand under the root of the workspace.
    pub reaches: &'static [&'static str],
}

/// All targets, in the order of their names.
pub const TARGETS: &[Target] = &[
    Target {
        name: "aead",
        body: crate::aead,
        dictionary: Some("aead"),
        max_len: 1024,
        reaches: &["wg-aead/src/"],
    },
    Target {
        name: "allowed_ips",
        body: crate::allowed_ips,
        dictionary: None,
        max_len: 2048,
        reaches: &["wg-datapath/src/allowed_ips"],
    },
    Target {
        name: "cmsg",
        body: crate::cmsg,
        dictionary: Some("kernel"),
        max_len: 512,
        reaches: &["wg-sys-linux/src/udp/cmsg.rs", "wg-sys-linux/src/udp/pktinfo.rs"],
    },
    Target {
        name: "conf_file",
        body: crate::conf_file,
        dictionary: Some("conf"),
        max_len: 2048,
        reaches: &[
            "examples/gateway/src/conf/parse.rs",
            "examples/gateway/src/conf/value.rs",
            "examples/gateway/src/conf/ops.rs",
        ],
    },
    Target {
        name: "cookie_reply",
        body: crate::cookie_reply,
        dictionary: None,
        max_len: 2048,
        reaches: &[
            "wg-proto/src/cookie.rs",
            "wg-proto/src/guard.rs",
            "wg-proto/src/mac.rs",
            "wg-proto/src/rate_limit.rs",
        ],
    },
    Target {
        name: "device_datagrams",
        body: crate::device_datagrams,
        dictionary: Some("wire"),
        max_len: 2048,
        reaches: &["wg-datapath/src/decap.rs", "wg-datapath/src/lane/incoming.rs", "wg-datapath/src/ip.rs"],
    },
    Target {
        name: "frame_header",
        body: crate::frame_header,
        dictionary: None,
        max_len: 256,
        reaches: &["wg-sys-linux/src/tun/virtio_net_hdr.rs"],
    },
    Target {
        name: "icmp",
        body: crate::icmp,
        dictionary: Some("ip"),
        max_len: 2048,
        reaches: &["wg-datapath/src/icmp.rs"],
    },
    Target {
        name: "initiator",
        body: crate::initiator,
        dictionary: Some("wire"),
        max_len: 1024,
        reaches: &["wg-proto/src/noise/initiator.rs", "wg-proto/src/control.rs", "wg-proto/src/peer.rs"],
    },
    Target {
        name: "ip_header",
        body: crate::ip_header,
        dictionary: Some("ip"),
        max_len: 256,
        reaches: &["wg-datapath/src/ip.rs"],
    },
    Target {
        name: "netlink",
        body: crate::netlink,
        dictionary: Some("kernel"),
        max_len: 512,
        reaches: &["wg-sys-linux/src/netlink.rs"],
    },
    Target {
        name: "padding_trim",
        body: crate::padding_trim,
        dictionary: Some("ip"),
        max_len: 2048,
        reaches: &["wg-proto/src/transport.rs"],
    },
    Target {
        name: "rehome",
        body: crate::rehome,
        dictionary: None,
        max_len: 256,
        reaches: &[
            "wg-datapath/src/lane/rehome.rs",
            "wg-datapath/src/device/rehome.rs",
            "wg-datapath/src/lane/exchange.rs",
            "wg-datapath/src/exchange.rs",
        ],
    },
    Target {
        name: "replay_window",
        body: crate::replay_window,
        dictionary: None,
        max_len: 4096,
        reaches: &["wg-proto/src/replay.rs"],
    },
    Target {
        name: "responder",
        body: crate::responder,
        dictionary: Some("wire"),
        max_len: 1024,
        reaches: &[
            "wg-proto/src/noise/responder.rs",
            "wg-proto/src/control.rs",
            "wg-proto/src/guard.rs",
            "wg-proto/src/peer.rs",
        ],
    },
    Target {
        name: "scheduler",
        body: crate::scheduler,
        dictionary: None,
        max_len: 128,
        reaches: &[
            "wg-sched/src/adaptive.rs",
            "wg-sched/src/inline.rs",
            "wg-sched/src/locked.rs",
            "wg-sched/src/pipelined.rs",
            "wg-sched/src/round.rs",
        ],
    },
    Target {
        name: "segment",
        body: crate::segment,
        dictionary: Some("ip"),
        max_len: 512,
        reaches: &["wg-datapath/src/segment.rs", "wg-datapath/src/coalesce", "wg-datapath/src/header.rs"],
    },
    Target {
        name: "two_peers",
        body: crate::two_peers,
        dictionary: None,
        max_len: 512,
        reaches: &[
            "wg-proto/src/sessions.rs",
            "wg-proto/src/timers.rs",
            "wg-proto/src/peer.rs",
            "wg-datapath/src/device",
        ],
    },
    Target {
        name: "uapi_stream",
        body: crate::uapi_stream,
        dictionary: Some("uapi"),
        max_len: 4096,
        reaches: &[
            "examples/gateway/src/uapi/parse.rs",
            "examples/gateway/src/uapi/apply.rs",
            "examples/gateway/src/uapi/hex.rs",
            "examples/gateway/src/uapi/reply.rs",
        ],
    },
    Target {
        name: "wire_parse",
        body: crate::wire_parse,
        dictionary: Some("wire"),
        max_len: 256,
        reaches: &["wg-proto/src/wire.rs", "wg-proto/src/wire/"],
    },
];
