//! Which offloads are to be used: all, unless the command line says otherwise.

use core::fmt;
use core::str::FromStr;

/// The offloads to use where the kernel has them.
///
/// Reads and prints the form of the command line: `NAME=on` and `NAME=off`, separated by commas; what is not named stays on.
/// The names are `all`, `tun`, `tun-csum`, `tun-tso`, `tun-uso`, `udp-gso` and `udp-gro`; later ones override earlier ones.
///
/// # Examples
///
/// ```
/// use wg_sys_linux::Offloads;
///
/// let offloads: Offloads = "tun=off,udp-gso=off".parse()?;
/// assert!(!offloads.tun_tso && !offloads.udp_gso && offloads.udp_gro);
/// assert_eq!("all=off,udp-gro=on".parse::<Offloads>()?.to_string(), "tun=off,udp-gso=off,udp-gro=on");
/// # Ok::<(), wg_sys_linux::ParseOffloadsError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offloads {
    /// Checksums of packets to and from the TUN are completed by whoever is last. The others of the TUN need it.
    pub tun_checksum: bool,
    /// TCP goes to and from the TUN in super-frames.
    pub tun_tso: bool,
    /// UDP does (Linux 6.2).
    pub tun_uso: bool,
    /// Several datagrams leave in one send (`UDP_SEGMENT`).
    pub udp_gso: bool,
    /// Several datagrams come in one receive (`UDP_GRO`).
    pub udp_gro: bool,
}

impl Offloads {
    /// All of them.
    pub const ALL: Self =
        Self { tun_checksum: true, tun_tso: true, tun_uso: true, udp_gso: true, udp_gro: true };

    /// None of them.
    pub const NONE: Self =
        Self { tun_checksum: false, tun_tso: false, tun_uso: false, udp_gso: false, udp_gro: false };

    /// Switches by name; `false` if there is no such name.
    fn switch(&mut self, name: &str, on: bool) -> bool {
        match name {
            "all" => *self = if on { Self::ALL } else { Self::NONE },
            "tun" => (self.tun_checksum, self.tun_tso, self.tun_uso) = (on, on, on),
            "tun-csum" => self.tun_checksum = on,
            "tun-tso" => self.tun_tso = on,
            "tun-uso" => self.tun_uso = on,
            "udp-gso" => self.udp_gso = on,
            "udp-gro" => self.udp_gro = on,
            _ => return false,
        }
        true
    }
}

impl Default for Offloads {
    fn default() -> Self {
        Self::ALL
    }
}

impl FromStr for Offloads {
    type Err = ParseOffloadsError;

    fn from_str(text: &str) -> Result<Self, ParseOffloadsError> {
        let mut offloads = Self::ALL;
        for word in text.split(',') {
            let (name, value) = word.split_once('=').ok_or(ParseOffloadsError::Form)?;
            let on = match value {
                "on" => true,
                "off" => false,
                _ => return Err(ParseOffloadsError::Value),
            };
            if !offloads.switch(name, on) {
                return Err(ParseOffloadsError::Name);
            }
        }
        Ok(offloads)
    }
}

impl fmt::Display for Offloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |on: bool| if on { "on" } else { "off" };
        match (self.tun_checksum, self.tun_tso, self.tun_uso) {
            // Without checksums the TUN splits nothing.
            (false, ..) => f.write_str("tun=off")?,
            (true, true, true) => f.write_str("tun=on")?,
            (true, tso, uso) => write!(f, "tun-csum=on,tun-tso={},tun-uso={}", word(tso), word(uso))?,
        }
        write!(f, ",udp-gso={},udp-gro={}", word(self.udp_gso), word(self.udp_gro))
    }
}

/// Why a text does not name offloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParseOffloadsError {
    /// There is no `=`.
    Form,
    /// There is no such offload.
    Name,
    /// The value is neither `on` nor `off`.
    Value,
}

impl fmt::Display for ParseOffloadsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Form => "expected NAME=on or NAME=off, separated by commas",
            Self::Name => "the offloads are all, tun, tun-csum, tun-tso, tun-uso, udp-gso and udp-gro",
            Self::Value => "an offload is on or off",
        })
    }
}

impl core::error::Error for ParseOffloadsError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_reads_back() {
        for bits in 0..32_u8 {
            let bit = |n: u8| bits & (1 << n) != 0;
            let tun_checksum = bit(0);
            let offloads = Offloads {
                tun_checksum,
                tun_tso: tun_checksum && bit(1),
                tun_uso: tun_checksum && bit(2),
                udp_gso: bit(3),
                udp_gro: bit(4),
            };
            assert_eq!(offloads.to_string().parse(), Ok(offloads), "{offloads}");
        }
    }

    #[test]
    fn each_name_switches_its_offload_and_later_ones_win() {
        let parse = |text: &str| text.parse::<Offloads>();
        assert_eq!(parse("all=off"), Ok(Offloads::NONE));
        assert_eq!(parse("all=off,all=on"), Ok(Offloads::ALL));
        assert_eq!(parse("tun-csum=off"), Ok(Offloads { tun_checksum: false, ..Offloads::ALL }));
        assert_eq!(parse("tun-tso=off"), Ok(Offloads { tun_tso: false, ..Offloads::ALL }));
        assert_eq!(parse("tun-uso=off"), Ok(Offloads { tun_uso: false, ..Offloads::ALL }));
        assert_eq!(parse("udp-gso=off"), Ok(Offloads { udp_gso: false, ..Offloads::ALL }));
        assert_eq!(parse("all=off,udp-gro=on"), Ok(Offloads { udp_gro: true, ..Offloads::NONE }));
    }

    #[test]
    fn anything_else_is_refused_by_what_is_wrong() {
        for (text, error) in [
            ("", ParseOffloadsError::Form),
            ("tun", ParseOffloadsError::Form),
            ("tun=off,", ParseOffloadsError::Form),
            ("tun=no", ParseOffloadsError::Value),
            ("tun =off", ParseOffloadsError::Name),
            ("lro=off", ParseOffloadsError::Name),
        ] {
            assert_eq!(text.parse::<Offloads>(), Err(error), "{text:?}");
        }
    }
}
