//! From a [`Conf`] to the lines of a set, in the order in which `wg setconf` sends them (W4, W5).

use core::net::{Ipv4Addr, SocketAddr};

use super::{AllowedIpConf, Conf, ConfError, EndpointConf, ListenPort, Name, PeerConf, Resolve};
use crate::uapi::{EndpointSpec, Op};

impl Conf {
    /// Compiles the file to operations that bring an interface to exactly what it says.
    ///
    /// Names are resolved here, each by one call of `resolver`; an error means that nothing is to be applied.
    ///
    /// # Errors
    ///
    /// The first name that has no answer.
    pub fn into_ops(self, resolver: &mut impl Resolve) -> Result<Vec<Op>, ConfError> {
        for name in &self.superseded {
            name.resolve(resolver)?;
        }
        let port = match self.listen_port {
            ListenPort::Number(port) => port,
            ListenPort::Service(name) => name.resolve(resolver)?.port(),
        };
        let mut ops = vec![
            Op::PrivateKey(self.private_key),
            Op::ListenPort(port),
            Op::FirewallMark(self.firewall_mark),
            Op::ReplacePeers,
        ];
        for peer in self.peers {
            push_peer(&mut ops, peer, resolver)?;
        }
        Ok(ops)
    }
}

impl Name {
    /// Asks the resolver; a port to listen on comes with the address that stands for all.
    fn resolve(&self, resolver: &mut impl Resolve) -> Result<SocketAddr, ConfError> {
        let answer = match &self.host {
            Some(host) => resolver.endpoint(host, &self.port),
            None => resolver.port(&self.port).map(|port| (Ipv4Addr::UNSPECIFIED, port).into()),
        };
        answer.map_err(|error| ConfError { line: self.line, kind: error.into() })
    }
}

fn push_peer(ops: &mut Vec<Op>, peer: PeerConf, resolver: &mut impl Resolve) -> Result<(), ConfError> {
    ops.push(Op::Peer(peer.public_key));
    ops.extend(peer.preshared_key.map(Op::PresharedKey));
    if let Some(endpoint) = peer.endpoint {
        let mut address = match endpoint {
            EndpointConf::Address(address) => address,
            EndpointConf::Name(name) => name.resolve(resolver)?,
        };
        // The socket for IPv6 does not reach an IPv4 address, however it is written.
        let canonical = address.ip().to_canonical();
        if canonical != address.ip() {
            address.set_ip(canonical);
        }
        ops.push(Op::Endpoint(Box::new(EndpointSpec { address, zone: None })));
    }
    ops.extend(peer.persistent_keepalive.map(Op::PersistentKeepalive));
    ops.extend(peer.replace_allowed_ips.then_some(Op::ReplaceAllowedIps));
    ops.extend(peer.allowed_ips.into_iter().map(|change| match change {
        AllowedIpConf::Add(prefix) => Op::AddAllowedIp(prefix),
        AllowedIpConf::Remove(prefix) => Op::RemoveAllowedIp(prefix),
    }));
    Ok(())
}
