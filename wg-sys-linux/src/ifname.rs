//! Interface names as this crate accepts them (U5), and the index behind one.

use std::io;

use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use crate::Error;

/// The longest interface name in bytes: `IFNAMSIZ` less the final zero.
const MAX_LEN: usize = 15;

/// Refuses names that the kernel would refuse or that could leave the socket directory.
///
/// `%` passes: the kernel replaces "%d" by a free number.
pub(crate) fn check(name: &str) -> Result<(), Error> {
    let legal = |byte: u8| byte.is_ascii_graphic() && byte != b'/' && byte != b':';
    let ok =
        !name.is_empty() && name.len() <= MAX_LEN && name != "." && name != ".." && name.bytes().all(legal);
    if ok { Ok(()) } else { Err(Error::new("use this interface name", io::ErrorKind::InvalidInput)) }
}

/// Returns the index of the interface of this name in the network namespace of this thread, if there is one.
#[must_use]
pub fn interface_index(name: &str) -> Option<u32> {
    // Any socket will do: it only stands for the namespace.
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None).ok()?;
    name_to_index(socket, name).ok()
}

#[cfg(test)]
mod tests {
    use super::{check, interface_index};

    #[test]
    fn loopback_has_the_first_index() {
        assert_eq!(interface_index("lo"), Some(1));
        assert_eq!(interface_index("no-such-if"), None);
    }

    #[test]
    fn names_that_wg_quick_takes_pass() {
        for name in ["wg0", "tun%d", "a", "x_=+.-9", "exactly15bytes_"] {
            assert!(check(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn names_that_could_do_harm_are_refused() {
        for name in ["", ".", "..", "a/b", "sixteen_bytes_xx", "wg 0", "wg:0", "wg\0", "wg\n", "wgé"] {
            assert!(check(name).is_err(), "{name:?}");
        }
    }
}
