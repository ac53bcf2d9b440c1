//! A packet padded, sealed, opened and trimmed is the packet; the padding is that of the law, and of zeros (C65-C67, C80).

use wg_datapath::ip;
use wg_proto::aead::{Aead, RustCryptoAead};
use wg_proto::{RecvKey, SendKey, SessionIndex, padded_len};

use crate::input::Input;
use crate::ip_header::naive_len;

/// C65 as it is written, in numbers that cannot overflow.
fn law(len: u64, mtu: u64) -> u128 {
    let (len, mtu) = (u128::from(len), u128::from(mtu));
    let unit = if mtu != 0 && len > mtu { len % mtu } else { len };
    let rounded = unit.div_ceil(16) * 16;
    let padded = if mtu != 0 { rounded.min(mtu) } else { rounded };
    len - unit + padded
}

/// The law for any two numbers, then the walk of a packet.
///
/// # Panics
///
/// If a length is not that of the law, or what comes out is not what went in.
pub fn padding_trim(data: &[u8]) {
    let mut input = Input::new(data);
    let (wide, wide_mtu) = (input.u64(), input.u64());
    let expected = law(wide, wide_mtu);
    let padded =
        padded_len(usize::try_from(wide).expect("64 bits"), usize::try_from(wide_mtu).expect("64 bits"));
    // Where the numbers end, so does the law.
    assert_eq!(padded as u128, expected.min(u64::MAX.into()), "{wide} bytes at MTU {wide_mtu}");

    let (mtu, counter, junk) = (usize::from(input.u16()), input.u64(), input.byte());
    let packet = input.rest();
    let padded = padded_len(packet.len(), mtu);
    assert_eq!(padded as u128, law(packet.len() as u64, mtu as u64), "{} bytes at MTU {mtu}", packet.len());
    let (send, recv) = (
        SendKey::<RustCryptoAead>::new(&[7; 32], SessionIndex::new(9)),
        RecvKey::<RustCryptoAead>::new(&[7; 32]),
    );
    let mut message = vec![junk; padded + 32];
    let body = send.begin_seal(counter, &mut message).expect("there is room");
    body[..packet.len()].copy_from_slice(packet);
    body[packet.len()..padded].fill(0);
    send.cipher().seal_in_place(counter, body).expect("there is room");
    let opened = recv.open_in_place(counter, &mut message).expect("it is authentic");
    assert_eq!(opened.len(), padded);
    assert_eq!(&opened[..packet.len()], packet);
    assert!(opened[packet.len()..].iter().all(|byte| *byte == 0));

    // A whole packet comes out as it went in, wherever its length field lets it end.
    match (ip::parse(opened), naive_len(opened)) {
        (Ok(view), Ok(total)) => {
            assert_eq!(view.total_len(), total);
            if naive_len(packet) == Ok(packet.len()) {
                assert_eq!(&opened[..view.total_len()], packet);
            }
        }
        (parsed, expected) => assert_eq!(parsed.err(), expected.err()),
    }
}
