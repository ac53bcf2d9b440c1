//! Any bytes as what the kernel answers over rtnetlink, beside a reader that walks one header after the other (S10, 13).

use wg_sys_linux::probe::{answer_to, attributes, command, messages};

use crate::input::Input;

fn u16_at(data: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes([data[at], data[at + 1]])
}

fn u32_at(data: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes([data[at], data[at + 1], data[at + 2], data[at + 3]])
}

/// Reads a buffer both ways: messages, their attributes, and the answer to each question; then builds a question.
///
/// # Panics
///
/// If the readers disagree, or what was built does not read back.
pub fn netlink(data: &[u8]) {
    let read = messages(data);
    let (mut at, mut seen) = (0, 0);
    let mut first_of: Vec<u32> = Vec::new();
    while data.len() - at >= 16 {
        let len = usize::try_from(u32_at(data, at)).expect("64 bits");
        if len < 16 || len > data.len() - at {
            break;
        }
        let (kind, sequence, payload) =
            (u16_at(data, at + 4), u32_at(data, at + 8), &data[at + 16..at + len]);
        let message = read[seen];
        assert_eq!((message.kind, message.sequence, message.payload), (kind, sequence, payload));
        walk_attributes(payload);
        if !first_of.contains(&sequence) {
            first_of.push(sequence);
            let expected = match (kind, payload) {
                (2, [a, b, c, d, ..]) => match i32::from_ne_bytes([*a, *b, *c, *d]) {
                    0 => Ok(Vec::new()),
                    code @ -4095..=-1 => Err(-code),
                    _ => Err(libc::EPROTO),
                },
                (2, _) => Err(libc::EPROTO),
                _ => Ok(payload.to_vec()),
            };
            assert_eq!(answer_to(data, sequence), Some(expected));
        }
        seen += 1;
        at = (at + len.div_ceil(4) * 4).min(data.len());
    }
    assert_eq!(read.len(), seen);
    let unasked = (0..).find(|number| !first_of.contains(number)).expect("there are many numbers");
    assert_eq!(answer_to(data, unasked), None);

    let mut input = Input::new(data);
    let (kind, sequence, name) = (input.u16(), input.u32(), input.counted());
    let built = command(kind, &[5; 16], (input.below(40).into(), name), sequence);
    let read = messages(&built);
    assert_eq!((read.len(), read[0].kind, read[0].sequence), (1, kind, sequence));
    assert_eq!(attributes(&read[0].payload[16..])[0].1, name);
}

fn walk_attributes(payload: &[u8]) {
    let read = attributes(payload);
    let (mut at, mut seen) = (0, 0);
    while payload.len() - at >= 4 {
        let len = usize::from(u16_at(payload, at));
        if len < 4 || len > payload.len() - at {
            break;
        }
        assert_eq!(read[seen], (u16_at(payload, at + 2), &payload[at + 4..at + len]));
        seen += 1;
        at = (at + len.div_ceil(4) * 4).min(payload.len());
    }
    assert_eq!(read.len(), seen);
}
