//! Interface names as this crate accepts them (U5).

use std::io;

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

#[cfg(test)]
mod tests {
    use super::check;

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
