//! The values of a configuration file (W2, W3): one function for each kind, given the bytes behind the `=`.

use core::net::{IpAddr, SocketAddr};
use core::str::FromStr;

use base64ct::{Base64, Encoding};
use wg_datapath::IpPrefix;
use zeroize::Zeroizing;

use super::{AllowedIpConf, EndpointConf, ErrorKind, ListenPort, Name};

/// The length of a key in base64, with the `=` at its end.
const KEY_LEN: usize = 44;

/// A key, in time that does not depend on its digits. Bits that the last digit has too many must be zero.
pub(super) fn key(value: &[u8]) -> Result<Zeroizing<[u8; 32]>, ErrorKind> {
    let mut key = Zeroizing::new([0; 32]);
    if value.len() != KEY_LEN {
        return Err(ErrorKind::BadKey);
    }
    match Base64::decode(value, key.as_mut_slice()) {
        Ok(decoded) if decoded.len() == 32 => Ok(key),
        _ => Err(ErrorKind::BadKey),
    }
}

/// Digits, or the name of a service.
pub(super) fn listen_port(value: &[u8], line: u32) -> Result<ListenPort, ErrorKind> {
    Ok(match port(value).ok_or(ErrorKind::BadPort)? {
        Port::Number(number) => ListenPort::Number(number),
        Port::Service(name) => ListenPort::Service(Name { line, host: None, port: name.into() }),
    })
}

/// `off`, decimal digits, or `0x` and hexadecimal digits.
pub(super) fn firewall_mark(value: &[u8]) -> Result<u32, ErrorKind> {
    if value.eq_ignore_ascii_case(b"off") {
        return Ok(0);
    }
    let mark = match value.strip_prefix(b"0x") {
        Some(digits) => hexadecimal(digits),
        None => decimal(value),
    };
    mark.ok_or(ErrorKind::BadFirewallMark)
}

/// `off` or seconds.
pub(super) fn keepalive(value: &[u8]) -> Result<u16, ErrorKind> {
    if value.eq_ignore_ascii_case(b"off") {
        return Ok(0);
    }
    decimal(value).ok_or(ErrorKind::BadKeepalive)
}

/// One element of a list of allowed IPs.
#[derive(Debug)]
pub(super) struct AllowedIp {
    pub(super) change: AllowedIpConf,
    /// It has a `+` or `-`, and so adds to what the peer has.
    pub(super) is_signed: bool,
    /// Bits behind the mask were set, and are dropped.
    pub(super) has_host_bits: bool,
}

/// `address`, `address/mask`, or one of these behind a sign.
pub(super) fn allowed_ip(element: &[u8]) -> Result<AllowedIp, ErrorKind> {
    let (sign, unsigned) = match element.split_first() {
        Some((&sign @ (b'+' | b'-'), rest)) => (Some(sign), rest),
        _ => (None, element),
    };
    let (prefix, has_host_bits) = prefix(unsigned).ok_or(ErrorKind::BadAllowedIp)?;
    let change = if sign == Some(b'-') { AllowedIpConf::Remove(prefix) } else { AllowedIpConf::Add(prefix) };
    Ok(AllowedIp { change, is_signed: sign.is_some(), has_host_bits })
}

fn prefix(text: &[u8]) -> Option<(IpPrefix, bool)> {
    let slash = text.iter().position(|&byte| byte == b'/');
    let addr: IpAddr = parsed(&text[..slash.unwrap_or(text.len())])?;
    let len = match slash {
        Some(slash) => decimal(&text[slash + 1..])?,
        None if addr.is_ipv4() => 32,
        None => 128,
    };
    let prefix = IpPrefix::new(addr, len).ok()?;
    Some((prefix, prefix.addr() != addr))
}

/// `host:port`, where the last colon counts, or `[host]:port`.
pub(super) fn endpoint(value: &[u8], line: u32) -> Result<EndpointConf, ErrorKind> {
    let (host, service) = split_endpoint(value).ok_or(ErrorKind::BadEndpoint)?;
    let host = core::str::from_utf8(host).map_err(|_| ErrorKind::BadEndpoint)?;
    let service = port(service).ok_or(ErrorKind::BadPort)?;
    if let (Ok(addr), Port::Number(number)) = (host.parse::<IpAddr>(), &service) {
        // An IPv4 address in IPv6 clothes is only reachable through the IPv4 socket.
        return Ok(EndpointConf::Address(SocketAddr::new(addr.to_canonical(), *number)));
    }
    let port = match service {
        Port::Number(number) => number.to_string().into(),
        Port::Service(name) => name.into(),
    };
    Ok(EndpointConf::Name(Name { line, host: Some(host.into()), port }))
}

/// Neither of the two is empty.
fn split_endpoint(value: &[u8]) -> Option<(&[u8], &[u8])> {
    let (host, port) = match value.strip_prefix(b"[") {
        Some(rest) => {
            let end = rest.iter().position(|&byte| byte == b']')?;
            (&rest[..end], rest[end + 1..].strip_prefix(b":")?)
        }
        None => {
            let colon = value.iter().rposition(|&byte| byte == b':')?;
            (&value[..colon], &value[colon + 1..])
        }
    };
    (!host.is_empty() && !port.is_empty()).then_some((host, port))
}

enum Port<'a> {
    Number(u16),
    Service(&'a str),
}

/// Neither a number that is no port, nor anything with a sign in front, is taken for the name of a service.
fn port(text: &[u8]) -> Option<Port<'_>> {
    if text.iter().all(u8::is_ascii_digit) {
        return decimal(text).map(Port::Number);
    }
    if text.starts_with(b"+") || text.starts_with(b"-") {
        return None;
    }
    core::str::from_utf8(text).ok().map(Port::Service)
}

/// Digits and nothing else; leading zeros are harmless.
fn decimal<T: FromStr>(text: &[u8]) -> Option<T> {
    if text.iter().all(u8::is_ascii_digit) { parsed(text) } else { None }
}

fn hexadecimal(text: &[u8]) -> Option<u32> {
    if !text.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u32::from_str_radix(core::str::from_utf8(text).ok()?, 16).ok()
}

fn parsed<T: FromStr>(text: &[u8]) -> Option<T> {
    core::str::from_utf8(text).ok()?.parse().ok()
}
