//! What the lane does for others, and others for it; see `exchange`.

use rand_core::TryCryptoRng;
use wg_proto::dh::Dh;

use super::LaneIo;
use crate::batch_aead::BatchAead;
use crate::exchange::Note;
use crate::io::{TunIo, UdpIo};

impl<A, R, T, U, D> LaneIo<'_, A, R, T, U, D>
where
    A: BatchAead,
    R: TryCryptoRng,
    T: TunIo,
    U: UdpIo,
    D: Dh,
{
    /// Takes in what other lanes have for this one: frames while there is room for them, everything else always. Tells whether
    /// there was any.
    pub(super) fn take_from_others(&mut self) -> bool {
        // Out of the lane for the moment, as it fills it.
        let Some(mut exchange) = self.lane.exchange.take() else { return false };
        let mut any = false;
        while let Some(note) = exchange.next_note() {
            match note {
                Note::Slab(slab) => self.lane.slabs.put(slab),
                Note::NarrowPath(to, mtu) => self.device.path_is_narrow(to, mtu, self.now.instant),
                Note::Handover(handover) => {
                    any = true;
                    self.device.take_handover(handover, self.now);
                }
            }
        }
        if self.lane.wants_readable() {
            any |= exchange.take_frames(|frame| {
                self.admit_frame(frame);
                self.lane.wants_readable()
            });
        }
        self.lane.exchange = Some(exchange);
        any
    }

    /// Gives others what is theirs.
    pub(super) fn give_to_others(&mut self) {
        let Some(exchange) = &mut self.lane.exchange else { return };
        while let Some(slab) = self.lane.slabs.take_stray() {
            exchange.send_home(slab);
        }
        while let Some(handover) = self.device.next_handover() {
            exchange.hand_over(handover);
        }
        exchange.publish();
    }
}
