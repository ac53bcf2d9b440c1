//! What is found out about offloads at the start, and said: what the UDP stack of this machine can do, and whether the devices
//! that datagrams leave by take part in it.
//!
//! None of it ends anything. What does not work is left alone from the beginning; what turns out later, by a send that the kernel
//! refuses, is told as a downgrade.

use core::net::{IpAddr, SocketAddr};

use wg_sys_linux::{Egress, Offloads, Udp};

/// The most endpoints whose devices are looked for: most of them leave by the same, and each asks the kernel three questions.
const MOST: usize = 16;

/// Tries the offloads of UDP sockets, and leaves out what does not work.
pub(crate) fn tried(wanted: Offloads) -> Offloads {
    if !(wanted.udp_gso || wanted.udp_gro) {
        return wanted;
    }
    let test = Udp::self_test(wanted);
    let allowed = test.allow(wanted);
    if allowed == wanted {
        tracing::debug!("{test}");
    } else {
        tracing::warn!("{test}: what does not work is switched off");
    }
    allowed
}

/// The devices that datagrams leave by, each to be said once.
#[derive(Debug)]
pub(crate) struct Egresses {
    /// Whether messages of several datagrams are sent, which is what the device may split.
    segmenting: bool,
    /// Addresses whose devices were looked for, or are to be.
    addresses: Vec<IpAddr>,
    looked_for: usize,
    said: Vec<String>,
}

impl Egresses {
    pub(crate) const fn new(offloads: Offloads) -> Self {
        Self { segmenting: offloads.udp_gso, addresses: Vec::new(), looked_for: 0, said: Vec::new() }
    }

    /// Remembers where datagrams will be sent to.
    pub(crate) fn add(&mut self, endpoint: SocketAddr) {
        let address = endpoint.ip();
        if self.segmenting && self.addresses.len() < MOST && !self.addresses.contains(&address) {
            self.addresses.push(address);
        }
    }

    /// Says what was not said yet. `find` asks the kernel.
    pub(crate) fn report(&mut self, find: impl Fn(IpAddr) -> Option<Egress>) {
        while let Some(line) = self.next(&find) {
            tracing::debug!("{line}");
        }
    }

    fn next(&mut self, find: &impl Fn(IpAddr) -> Option<Egress>) -> Option<String> {
        loop {
            let address = *self.addresses.get(self.looked_for)?;
            self.looked_for += 1;
            if let Some(egress) = find(address)
                && !self.said.contains(&egress.interface)
            {
                let line = line(&egress);
                self.said.push(egress.interface);
                return Some(line);
            }
        }
    }
}

fn line(Egress { interface, udp_segmentation }: &Egress) -> String {
    let does = match udp_segmentation {
        Some(true) => "which splits messages into datagrams itself (tx-udp-segmentation)",
        Some(false) => {
            "which leaves the split of messages into datagrams to the kernel (no tx-udp-segmentation)"
        }
        None => "of which the kernel does not tell whether it has tx-udp-segmentation",
    };
    format!("datagrams leave by {interface}, {does}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(last: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, last], 51820))
    }

    fn lines(egresses: &mut Egresses, find: impl Fn(IpAddr) -> Option<Egress>) -> Vec<String> {
        core::iter::from_fn(|| egresses.next(&find)).collect()
    }

    #[test]
    fn each_device_is_said_once_with_what_it_does() {
        let find = |address| {
            let IpAddr::V4(address) = address else { return None };
            let (name, udp_segmentation) = match address.octets()[3] {
                0 => return None,
                1..=3 => ("eth0", Some(true)),
                4 => ("eth1", Some(false)),
                _ => ("ppp0", None),
            };
            Some(Egress { interface: name.to_owned(), udp_segmentation })
        };
        let mut egresses = Egresses::new(Offloads::ALL);
        assert_eq!(lines(&mut egresses, find), [""; 0]);
        (0..4).for_each(|last| egresses.add(endpoint(last)));
        let said = lines(&mut egresses, find);
        assert_eq!(
            said,
            ["datagrams leave by eth0, which splits messages into datagrams itself (tx-udp-segmentation)"]
        );
        (0..6).for_each(|last| egresses.add(endpoint(last)));
        let said = lines(&mut egresses, find);
        assert_eq!(said.len(), 2);
        assert!(said[0].starts_with("datagrams leave by eth1, which leaves the split"), "{said:?}");
        assert!(
            said[1].starts_with("datagrams leave by ppp0, of which the kernel does not tell"),
            "{said:?}"
        );
    }

    #[test]
    fn kernel_is_asked_of_few_addresses_and_of_none_without_segmentation() {
        let asked = core::cell::Cell::new(0);
        let find = |_| {
            asked.set(asked.get() + 1);
            None
        };
        let mut egresses = Egresses::new(Offloads::ALL);
        for last in 0..=255 {
            egresses.add(endpoint(last));
            egresses.add(endpoint(last));
            egresses.report(find);
        }
        assert_eq!(asked.get(), MOST);
        let mut egresses = Egresses::new(Offloads { udp_gso: false, ..Offloads::ALL });
        egresses.add(endpoint(1));
        egresses.report(find);
        assert_eq!(asked.get(), MOST);
    }

    #[test]
    fn what_is_not_wanted_is_not_tried() {
        assert_eq!(tried(Offloads::NONE), Offloads::NONE);
        assert_eq!(tried(Offloads::ALL), Offloads::ALL, "this kernel has them");
    }
}
