//! The protocol and nothing else, linked like the firmware: its size is what the protocol takes of the flash, and the ways
//! to panic that are found in it are those of the protocol. It does not run.
//!
//! Everything that a datagram, a packet, a command or the passing of time sets off is an entry here, with arguments of
//! which the compiler knows nothing.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod entries {
    #![expect(unsafe_code, reason = "a section that the linker keeps")]

    use core::convert::Infallible;
    use core::hint::black_box;
    use core::net::SocketAddr;
    use core::panic::PanicInfo;
    use core::time::Duration;

    use rand_core::{TryCryptoRng, TryRng};
    use wg_proto::aead::RustCryptoAead;
    use wg_proto::{
        Config, DhError, Endpoint, Event, Handled, Instant, Load, Peer, PresharedKey, PrivateKey, PublicKey,
        ReceiveError, SealError, Transmit, UnixTime,
    };

    type Probed = Peer<PrivateKey, RustCryptoAead, 32>;

    /// An entropy source of which nothing is known, not even whether it works.
    struct Entropy;

    #[derive(Debug)]
    struct NoEntropy;

    impl core::fmt::Display for NoEntropy {
        fn fmt(&self, _: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
            Ok(())
        }
    }

    impl core::error::Error for NoEntropy {}

    impl TryRng for Entropy {
        type Error = NoEntropy;

        fn try_next_u32(&mut self) -> Result<u32, NoEntropy> {
            black_box(Ok(0))
        }

        fn try_next_u64(&mut self) -> Result<u64, NoEntropy> {
            black_box(Ok(0))
        }

        fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), NoEntropy> {
            black_box(bytes);
            black_box(Ok(()))
        }
    }

    impl TryCryptoRng for Entropy {}

    fn new(key: [u8; 32], config: Config) -> Result<Probed, DhError> {
        Peer::sized(PrivateKey::from_bytes(key), config, &mut Entropy)
    }

    fn handle<'d>(
        peer: &mut Probed,
        datagram: &'d mut [u8],
        from: Endpoint,
        load: Load,
        now: Instant,
        wall: UnixTime,
    ) -> Result<Handled<'d>, ReceiveError> {
        peer.handle(datagram, from, load, now, wall, &mut Entropy)
    }

    fn seal(peer: &mut Probed, packet: &[u8], out: &mut [u8], now: Instant) -> Result<usize, SealError> {
        let need = peer.sealed_len(packet.len());
        peer.seal(packet, out, now).map(|len| len.min(need))
    }

    fn poll_transmit(
        peer: &mut Probed,
        out: &mut [u8],
        now: Instant,
        wall: UnixTime,
    ) -> Result<Option<Transmit>, SealError> {
        peer.poll_transmit(out, now, wall, &mut Entropy)
    }

    fn handle_timeout(peer: &mut Probed, now: Instant) -> Option<Instant> {
        peer.handle_timeout(now);
        peer.poll_timeout()
    }

    fn command(peer: &mut Probed, which: u8, remote: SocketAddr, key: [u8; 32], mtu: usize, now: Instant) {
        match which {
            0 => peer.initiate(now),
            1 => peer.set_endpoint(remote),
            2 => peer.set_preshared_key(PresharedKey::from_bytes(key)),
            3 => peer.set_persistent_keepalive(Duration::from_secs(mtu as u64), now),
            4 => peer.set_mtu(mtu),
            5 => peer.on_vm_generation_change(),
            _ => peer.reset(),
        }
    }

    /// What the linker begins at.
    #[repr(C)]
    struct Entries {
        new: fn([u8; 32], Config) -> Result<Probed, DhError>,
        config: fn(PublicKey) -> Config,
        handle: for<'d> fn(
            &mut Probed,
            &'d mut [u8],
            Endpoint,
            Load,
            Instant,
            UnixTime,
        ) -> Result<Handled<'d>, ReceiveError>,
        seal: fn(&mut Probed, &[u8], &mut [u8], Instant) -> Result<usize, SealError>,
        poll_transmit: fn(&mut Probed, &mut [u8], Instant, UnixTime) -> Result<Option<Transmit>, SealError>,
        poll_event: fn(&mut Probed) -> Option<Event>,
        handle_timeout: fn(&mut Probed, Instant) -> Option<Instant>,
        command: fn(&mut Probed, u8, SocketAddr, [u8; 32], usize, Instant),
        drop: unsafe fn(*mut Probed),
        /// The panic handler, so that it is there, and calls nothing.
        panic: fn(&PanicInfo<'_>) -> Infallible,
    }

    #[used]
    #[unsafe(link_section = ".vectors")]
    static ENTRIES: Entries = Entries {
        new,
        config: Config::new,
        handle,
        seal,
        poll_transmit,
        poll_event: Peer::poll_event,
        handle_timeout,
        command,
        drop: core::ptr::drop_in_place::<Probed>,
        panic: stop,
    };

    fn stop(_: &PanicInfo<'_>) -> Infallible {
        loop {}
    }

    #[panic_handler]
    fn panic(info: &PanicInfo<'_>) -> ! {
        match stop(info) {}
    }
}

/// There is nothing to run here: it is built for `thumbv7em-none-eabihf`, see the README.
#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("This is to be looked at, not to be run: see README.md.");
}
