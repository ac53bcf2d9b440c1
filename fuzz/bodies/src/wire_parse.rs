//! Any datagram through the wire parser, beside a parser that slices at the offsets of the message tables (C1-C6).

use wg_proto::wire::{
    CookieReply, Initiation, Message, MessageType, ParseError, Response, message_type, write_transport_header,
};

/// A field as bytes.
fn field(data: &[u8], from: usize, to: usize) -> &[u8] {
    &data[from..to]
}

fn number(data: &[u8], from: usize) -> u32 {
    (0..4).rev().fold(0, |number, at| number << 8 | u32::from(data[from + at]))
}

/// What the tables say of a datagram: its type, or why it is none.
fn naive(data: &[u8]) -> Result<u8, ParseError> {
    if data.len() < 4 {
        return Err(ParseError::TooShort);
    }
    if !(1..=4).contains(&data[0]) || data[1] != 0 || data[2] != 0 || data[3] != 0 {
        return Err(ParseError::UnknownType);
    }
    let fits = match data[0] {
        1 => data.len() == 148,
        2 => data.len() == 92,
        3 => data.len() == 64,
        _ => data.len() >= 32,
    };
    if fits { Ok(data[0]) } else { Err(ParseError::WrongLength) }
}

/// Parses a datagram twice and compares every field; writing the fields gives the datagram again.
///
/// # Panics
///
/// If the parsers disagree.
pub fn wire_parse(data: &[u8]) {
    let expected = naive(data);
    let kind = message_type(data);
    if let (Err(error), Err(expected)) = (kind, expected) {
        // The length is not looked at for the type alone.
        assert_eq!(error, expected);
    }
    let parsed = Message::parse(data);
    match (&parsed, expected) {
        (Err(error), Err(expected)) => assert_eq!(*error, expected),
        (Ok(Message::Initiation(m)), Ok(1)) => {
            assert_eq!(kind, Ok(MessageType::Initiation));
            assert_eq!(m.as_bytes().as_slice(), data);
            assert_eq!(m.sender_index().get(), number(data, 4));
            assert_eq!(m.unencrypted_ephemeral(), field(data, 8, 40));
            assert_eq!(m.encrypted_static(), field(data, 40, 88));
            assert_eq!(m.encrypted_timestamp(), field(data, 88, 116));
            assert_eq!((&m.mac1()[..], &m.mac2()[..]), (field(data, 116, 132), field(data, 132, 148)));
            let again = Initiation::write(
                m.sender_index(),
                m.unencrypted_ephemeral(),
                m.encrypted_static(),
                m.encrypted_timestamp(),
            );
            assert_eq!(again[..116], data[..116]);
            assert_eq!(again[116..], [0; 32]);
        }
        (Ok(Message::Response(m)), Ok(2)) => {
            assert_eq!(kind, Ok(MessageType::Response));
            assert_eq!(m.as_bytes().as_slice(), data);
            assert_eq!(
                (m.sender_index().get(), m.receiver_index().get()),
                (number(data, 4), number(data, 8))
            );
            assert_eq!(m.unencrypted_ephemeral(), field(data, 12, 44));
            assert_eq!(m.encrypted_nothing(), field(data, 44, 60));
            assert_eq!((&m.mac1()[..], &m.mac2()[..]), (field(data, 60, 76), field(data, 76, 92)));
            let again = Response::write(
                m.sender_index(),
                m.receiver_index(),
                m.unencrypted_ephemeral(),
                m.encrypted_nothing(),
            );
            assert_eq!(again[..60], data[..60]);
            assert_eq!(again[60..], [0; 32]);
        }
        (Ok(Message::CookieReply(m)), Ok(3)) => {
            assert_eq!(kind, Ok(MessageType::CookieReply));
            assert_eq!(m.receiver_index().get(), number(data, 4));
            assert_eq!(
                (&m.nonce()[..], &m.encrypted_cookie()[..]),
                (field(data, 8, 32), field(data, 32, 64))
            );
            assert_eq!(CookieReply::write(m.receiver_index(), m.nonce(), m.encrypted_cookie()), data);
        }
        (Ok(Message::TransportData(m)), Ok(4)) => {
            assert_eq!(kind, Ok(MessageType::TransportData));
            assert_eq!(m.receiver_index().get(), number(data, 4));
            let counter = u64::from(number(data, 12)) << 32 | u64::from(number(data, 8));
            assert_eq!((m.counter(), m.ciphertext()), (counter, &data[16..]));
            let mut header = [0xaa; 16];
            write_transport_header(&mut header, m.receiver_index(), m.counter());
            assert_eq!(header, data[..16]);
        }
        (parsed, expected) => panic!("{parsed:?} where the tables say {expected:?}"),
    }
}
