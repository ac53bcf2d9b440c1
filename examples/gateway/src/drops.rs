//! What was dropped, by reason, on all lanes together: in the reply to a get, and in the log at the end.
//!
//! A packet is counted by the lane it dies on, whoever its peer is at home with, so all lanes are added up, between two turns of theirs.
//! Who reads the configuration socket reads the private key there, too, and is told of all reasons. A log goes elsewhere: it names
//! those only whose counts answer no guess ([`Exposure::Public`]).

use wg_datapath::{DropCounters, Exposure};

use crate::homes::Homes;
use crate::tunnel::TunnelDevice;

/// Adds up what devices dropped.
pub(crate) fn of_all<'a>(devices: impl Iterator<Item = &'a TunnelDevice>) -> DropCounters {
    let mut drops = DropCounters::default();
    devices.for_each(|device| drops.add(device.drops()));
    drops
}

/// Says in the log what was dropped, if anything was.
pub(crate) fn tell(homes: &Homes) {
    let all = homes.all();
    let list = published(&of_all(all.homes.iter().filter_map(|home| home.device())));
    if !list.is_empty() {
        tracing::debug!("dropped: {list}");
    }
}

/// The reasons that may be published and their counts.
fn published(drops: &DropCounters) -> String {
    let counted = drops.iter().filter(|(_, count)| *count > 0);
    let public = counted.filter(|(reason, _)| reason.exposure() == Exposure::Public);
    public.map(|(reason, count)| format!("{reason} {count}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use wg_datapath::DropReason;

    use super::*;

    #[test]
    fn the_log_is_told_of_what_answers_no_guess() {
        assert_eq!(published(&DropCounters::default()), "");
        let mut drops = DropCounters::default();
        DropReason::ALL.iter().for_each(|reason| drops.count(*reason));
        drops.count_many(DropReason::NoBuffer, 4);
        let list = published(&drops);
        assert!(
            list.starts_with("out_not_ip 1, out_too_short 1, ") && list.ends_with(", no_buffer 5"),
            "{list}"
        );
        for reason in DropReason::ALL {
            let is_told = list.split(", ").any(|entry| entry.starts_with(&format!("{reason} ")));
            assert_eq!(is_told, reason.exposure() == Exposure::Public, "{reason}");
        }
        let mut secret = DropCounters::default();
        secret.count(DropReason::Replay);
        assert_eq!(published(&secret), "");
    }
}
