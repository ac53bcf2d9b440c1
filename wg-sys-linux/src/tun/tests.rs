//! The TUN: sorting of errors, frames through the kernel, and what happens when it refuses them.

use core::num::NonZeroU16;

use wg_datapath::offload::{Checksum, Segmentation};

use super::*;
use crate::fault::{Refusals, refuse};
use crate::namespace::Namespace;

#[test]
fn only_a_lost_device_is_fatal() {
    let transient = [Errno::IO, Errno::INVAL, Errno::NOMEM, Errno::NOBUFS, Errno::FAULT, Errno::PERM];
    for error in transient {
        assert_eq!(kind_of(error), IoError::Transient(error.raw_os_error()));
    }
    for error in [Errno::BADFD, Errno::BADF, Errno::NODEV, Errno::NXIO] {
        assert_eq!(kind_of(error), IoError::Fatal(error.raw_os_error()));
    }
    assert_eq!(kind_of(Errno::AGAIN), IoError::WouldBlock);
}

#[test]
fn descriptors_that_are_no_tun_are_not_adopted() {
    let null = std::fs::File::open("/dev/null").unwrap();
    assert!(Tun::adopt(null.into()).is_err());
    assert!(Tun::open("a/b").is_err());
}

/// A frame of two datagrams, and what is left to be done with it.
fn super_frame() -> (Vec<u8>, Offload) {
    let mut frame = vec![0; 28 + 20];
    frame[0] = 0x45;
    frame[2..4].copy_from_slice(&48_u16.to_be_bytes());
    frame[8] = 64;
    frame[9] = 17;
    frame[12..20].copy_from_slice(&[10, 9, 9, 2, 10, 9, 9, 1]);
    frame[24..26].copy_from_slice(&28_u16.to_be_bytes());
    let segment_size = NonZeroU16::new(10).unwrap();
    let segmentation = Segmentation { kind: SegmentationKind::Udp, segment_size, ecn: false };
    (frame, Offload { checksum: Some(Checksum { start: 20, offset: 6 }), segmentation: Some(segmentation) })
}

/// A TUN with all offloads in a namespace of its own.
fn tun(test: &str) -> Option<(Namespace, Tun)> {
    if !std::path::Path::new(DEVICE).exists() {
        println!("SKIPPED {test}: there is no {DEVICE} (modprobe tun)");
        return None;
    }
    let namespace = Namespace::new(test)?;
    let tun = namespace.run(|| Tun::open_with("wgt0", Offloads::ALL)).unwrap();
    Some((namespace, tun))
}

const ALL: TunOffloads = TunOffloads { checksum: true, tcp4: true, tcp6: true, udp4: true, udp6: true };

#[test]
fn refused_kind_of_frame_is_switched_off_alone_and_told_once() {
    let Some((namespace, mut tun)) = tun("refused_kind_of_frame_is_switched_off_alone_and_told_once") else {
        return;
    };
    namespace.ip(&["link", "set", "wgt0", "up"]);
    let (frame, offload) = super_frame();
    tun.offloads = ALL;
    for errno in [libc::EINVAL, libc::EIO] {
        tun.offloads.udp4 = true;
        let refusing = refuse(Refusals { frames: Some((Feature::TunUdp4, errno)), ..Refusals::default() });
        assert_eq!(tun.write_frame(&frame, offload), Err(IoError::Transient(errno)));
        assert_eq!(tun.offloads(), TunOffloads { udp4: false, ..ALL });
        assert_eq!(tun.take_downgrade(), Some(Downgrade { feature: Feature::TunUdp4, errno }));
        assert_eq!(tun.take_downgrade(), None);
        drop(refusing);
        // It is not tried again; the packets go one by one, with their checksums left to the kernel.
        assert_eq!(tun.write_frame(&frame, offload), Err(IoError::Transient(libc::EINVAL)));
        assert_eq!(tun.take_downgrade(), None);
        let single = Offload { segmentation: None, ..offload };
        assert_eq!(tun.write_frame(&frame, single), Ok(()));
    }
}

#[test]
fn refused_checksum_takes_all_kinds_with_it() {
    let Some((namespace, mut tun)) = tun("refused_checksum_takes_all_kinds_with_it") else { return };
    namespace.ip(&["link", "set", "wgt0", "up"]);
    let (frame, offload) = super_frame();
    let _refusing =
        refuse(Refusals { frames: Some((Feature::TunChecksum, libc::EINVAL)), ..Refusals::default() });
    let single = Offload { segmentation: None, ..offload };
    assert_eq!(tun.write_frame(&frame, single), Err(IoError::Transient(libc::EINVAL)));
    assert_eq!(tun.offloads(), TunOffloads::default());
    assert_eq!(tun.take_downgrade(), Some(Downgrade { feature: Feature::TunChecksum, errno: libc::EINVAL }));
    assert_eq!(tun.write(&frame), Ok(()));
}

#[test]
fn interface_that_is_down_refuses_no_kind_of_frame() {
    let Some((namespace, mut tun)) = tun("interface_that_is_down_refuses_no_kind_of_frame") else { return };
    let (frame, offload) = super_frame();
    let offloads = tun.offloads();
    if !offloads.udp4 {
        return println!("SKIPPED interface_that_is_down_refuses_no_kind_of_frame: no USO here");
    }
    for _ in 0..2 {
        assert_eq!(tun.write_frame(&frame, offload), Err(IoError::Transient(libc::EIO)));
        assert!(tun.seen_down, "asked once");
    }
    assert_eq!((tun.offloads(), tun.take_downgrade()), (offloads, None));
    namespace.ip(&["link", "set", "wgt0", "up"]);
    assert_eq!(tun.write_frame(&frame, offload), Ok(()));
    assert!(!tun.seen_down);
}

#[test]
fn kernel_without_udp_segmentation_leaves_the_rest() {
    let Some((namespace, tun)) = tun("kernel_without_udp_segmentation_leaves_the_rest") else { return };
    drop(tun);
    namespace.run(|| {
        let _refusing = refuse(Refusals { tun_uso: Some(libc::EINVAL), ..Refusals::default() });
        let tun = Tun::open_with("wgt1", Offloads::ALL).unwrap();
        assert_eq!(tun.offloads(), TunOffloads { udp4: false, udp6: false, ..ALL });
    });
}
