//! The way that traffic takes: through two gateways of one kind, or over the cable alone.

use core::net::IpAddr;
use core::time::Duration;

use wg_netns::veth::{self, Veth};
use wg_netns::{Family, Namespace, Pair};

use super::column::Column;

/// The MTU of the interfaces of all programs, as `wg-quick` sets it: not all set one themselves.
const MTU: u32 = 1420;

/// A way from one namespace to another, made anew for each turn.
#[derive(Debug)]
pub(super) enum Route {
    /// Two gateways, and a session between them.
    Tunnel(Box<Pair>),
    /// The cable.
    Bare(Namespace, Namespace, #[expect(dead_code, reason = "what the route stands for")] Veth),
}

impl Route {
    /// Starts what the column names.
    pub(super) fn open(column: &Column) -> Result<Self, String> {
        let Some(launch) = &column.launch else {
            let (from, to) = (Namespace::new(), Namespace::new());
            let cable = veth::connect(&from, &to);
            from.ip(&format!("addr add 10.1.0.1/24 dev {}", cable.first));
            to.ip(&format!("addr add 10.1.0.2/24 dev {}", cable.second));
            return Ok(Self::Bare(from, to, cable));
        };
        let pair = Pair::new([launch.clone(), launch.clone()]);
        for node in [&pair.a, &pair.b] {
            node.namespace.ip(&format!("link set {} mtu {MTU}", node.interface()));
        }
        pair.acquaint_directly(Family::V4);
        if !pair.a.reaches_within(Duration::from_secs(10), &pair.b, Family::V4) {
            return Err("no ping was answered through the tunnel".into());
        }
        Ok(Self::Tunnel(Box::new(pair)))
    }

    /// Where traffic begins.
    pub(super) fn from(&self) -> &Namespace {
        match self {
            Self::Tunnel(pair) => &pair.a.namespace,
            Self::Bare(from, ..) => from,
        }
    }

    /// Where it ends.
    pub(super) fn to(&self) -> &Namespace {
        match self {
            Self::Tunnel(pair) => &pair.b.namespace,
            Self::Bare(_, to, _) => to,
        }
    }

    /// The address there.
    pub(super) fn address(&self) -> IpAddr {
        match self {
            Self::Tunnel(pair) => pair.b.inner(Family::V4),
            Self::Bare(..) => [10, 1, 0, 2].into(),
        }
    }

    /// The gateways.
    pub(super) fn pair(&self) -> Option<&Pair> {
        match self {
            Self::Tunnel(pair) => Some(pair),
            Self::Bare(..) => None,
        }
    }

    /// Their processes.
    pub(super) fn pids(&self) -> Vec<u32> {
        self.pair().map_or_else(Vec::new, |pair| vec![pair.a.tunnel.pid(), pair.b.tunnel.pid()])
    }
}
