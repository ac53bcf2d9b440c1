//! Initiations that came to one device and are for a peer whose home is another.
//!
//! They come where they are checked and counted together: MAC1, load, cookies and limiter know one flood, however many cores
//! there are. There the first multiplication is done, as nothing else tells who the initiator is. Its result goes to the
//! home along with the message: the rest of the work and all checks (C30-C32) are done there, and no multiplication twice.
//!
//! What is handed over lies in a box that is made ahead, goes there and comes back. So a stranger who claims to be a peer
//! causes no allocation, and the secret in the box is wiped where it lies.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use rand_core::TryCryptoRng;
use wg_proto::aead::Aead;
use wg_proto::dh::Dh;
use wg_proto::noise::ReceivedInitiation;
use wg_proto::wire::{INITIATION_LEN, Initiation};
use wg_proto::{Endpoint, SharedSecret, with_wiped_stack};

use super::handshake::{ControlDatagram, is_in_vain};
use super::{Device, Now};
use crate::drop::DropReason;
use crate::home::HomeId;

/// Initiations of one device that are under way to others.
pub(crate) const HANDOVERS: usize = 64;

/// An initiation on its way to the home of the initiator.
#[derive(Debug)]
pub(crate) struct Handover {
    /// Where it came in, and where the box goes back to.
    origin: HomeId,
    home: HomeId,
    message: [u8; INITIATION_LEN],
    from: Option<Endpoint>,
    /// The shared secret of our static key and the ephemeral one of the message; none once it was used.
    es: Option<SharedSecret>,
    /// How often the static key had changed when it was handed over.
    key_changes: u32,
    /// It was in vain, which is counted where it came in.
    in_vain: bool,
}

impl Handover {
    fn new(origin: HomeId) -> Self {
        Self {
            origin,
            home: origin,
            message: [0; INITIATION_LEN],
            from: None,
            es: None,
            key_changes: 0,
            in_vain: false,
        }
    }

    /// Where it goes next: to the home of its peer, or back.
    pub(crate) const fn destination(&self) -> HomeId {
        if self.es.is_some() { self.home } else { self.origin }
    }
}

/// The boxes for initiations to be handed over, and those under way.
#[derive(Debug, Default)]
pub(super) struct Handovers {
    /// This device's own, which hold nothing.
    #[expect(clippy::vec_box, reason = "what is moved is the box, so that a secret stays where it is wiped")]
    spare: Vec<Box<Handover>>,
    /// To be taken to where they go.
    leaving: VecDeque<Box<Handover>>,
    /// Of others, for peers whose home is here.
    arrived: VecDeque<Box<Handover>>,
}

impl Handovers {
    pub(super) fn new(home: HomeId, homes: usize) -> Self {
        if homes <= 1 {
            return Self::default();
        }
        let under_way = HANDOVERS * homes;
        Self {
            spare: (0..HANDOVERS).map(|_| Box::new(Handover::new(home))).collect(),
            leaving: VecDeque::with_capacity(under_way),
            arrived: VecDeque::with_capacity(under_way),
        }
    }

    pub(super) fn waits(&self) -> bool {
        !self.arrived.is_empty()
    }

    /// Sends all back that wait here, unseen, and returns how many there were.
    pub(super) fn clear(&mut self) -> u64 {
        let dropped = self.arrived.len();
        for mut handover in self.arrived.drain(..) {
            handover.es = None;
            self.leaving.push_back(handover);
        }
        dropped as u64
    }
}

impl<A: Aead, R: TryCryptoRng, D: Dh> Device<A, R, D> {
    /// Hands an initiation over to the home of its initiator.
    pub(super) fn hand_over(
        &mut self,
        message: &Initiation<'_>,
        from: Endpoint,
        es: SharedSecret,
        home: HomeId,
    ) -> Result<(), DropReason> {
        let mut handover = self.handovers.spare.pop().ok_or(DropReason::HandshakeQueueFull)?;
        handover.message = *message.as_bytes();
        (handover.home, handover.from, handover.es) = (home, Some(from), Some(es));
        (handover.key_changes, handover.in_vain) = (self.key_changes, false);
        self.handovers.leaving.push_back(handover);
        Ok(())
    }

    /// The next that is to be taken to another device.
    pub(crate) fn next_handover(&mut self) -> Option<Box<Handover>> {
        self.handovers.leaving.pop_front()
    }

    /// Takes in what comes from another device: an initiation, or an empty box.
    pub(crate) fn take_handover(&mut self, mut handover: Box<Handover>, now: Now) {
        if handover.origin != self.peers.home().0 {
            if self.up {
                self.handovers.arrived.push_back(handover);
            } else {
                handover.es = None;
                self.handovers.leaving.push_back(handover);
                self.drops.count(DropReason::DeviceDown);
            }
            return;
        }
        if core::mem::take(&mut handover.in_vain) {
            self.handshakes.in_vain(now.instant);
        }
        self.handovers.spare.push(handover);
    }

    /// Works on an initiation that was handed over, if there is one.
    pub(super) fn consume_handover(&mut self, now: Now) -> Option<Option<ControlDatagram>> {
        let mut handover = self.handovers.arrived.pop_front()?;
        let consumed = with_wiped_stack(|| self.answer_handover(&handover, now));
        handover.es = None;
        let datagram = match consumed {
            Ok(datagram) => Some(datagram),
            Err(reason) => {
                self.drops.count(reason);
                handover.in_vain = is_in_vain(reason);
                None
            }
        };
        self.handovers.leaving.push_back(handover);
        Some(datagram)
    }

    fn answer_handover(&mut self, handover: &Handover, now: Now) -> Result<ControlDatagram, DropReason> {
        let identity = self.identity.as_ref().ok_or(DropReason::NoPrivateKey)?;
        if handover.key_changes != self.key_changes {
            return Err(DropReason::InvalidMac1);
        }
        let message = Initiation::parse(&handover.message).map_err(|_| DropReason::WrongMessageLength)?;
        let es = handover.es.as_ref().ok_or(DropReason::NoPrivateKey)?;
        let from = handover.from.ok_or(DropReason::NoSource)?;
        let identified = ReceivedInitiation::begin(&identity.public, &message)
            .open_static(es)
            .map_err(DropReason::from)?;
        self.answer_initiation(identified, from, now)
    }
}
