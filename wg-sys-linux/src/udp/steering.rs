//! Which socket of a group a datagram goes to: that of the core its session lives on.
//!
//! The kernel asks a program (classic BPF, `SO_ATTACH_REUSEPORT_CBPF`) for the number of the socket. Transport data, responses
//! and cookie replies go by their receiver index, mixed with a secret, so that an index says nothing about cores to whoever
//! sees it; everything else, initiations above all, goes to the first. [`Steering::member_of`] gives the same answer, so that
//! an index can be drawn anew until it falls on the core it is to be on.
//!
//! ```text
//!  0      1          4                8
//! | 4 | 0, 0, 0 | receiver_index | counter ..      index, as a number in network byte order, times the secret;
//! | 3 | 0, 0, 0 | receiver_index | nonce ..        of that the upper half, times the members; of that the upper half
//! | 2 | 0, 0, 0 | sender_index   | receiver_index ..
//! ```
//!
//! Steering reads what nobody has authenticated. An attacker can choose the socket, no more; that the session lives there is
//! checked again by whoever reads it.

/// The first four bytes of the messages that have a receiver index, in network byte order, and where they have it.
const TRANSPORT_DATA: u32 = 0x0400_0000;
const COOKIE_REPLY: u32 = 0x0300_0000;
const RESPONSE: u32 = 0x0200_0000;
const RECEIVER_INDEX: u32 = 4;
const RECEIVER_INDEX_OF_RESPONSE: u32 = 8;

/// The instructions used, each the class and what it does.
const LOAD_WORD: u16 = 0x20;
const JUMP: u16 = 0x05;
const JUMP_IF_EQUAL: u16 = 0x15;
const RETURN_CONSTANT: u16 = 0x06;
const MULTIPLY: u16 = 0x24;
const SHIFT_RIGHT: u16 = 0x74;
const RETURN_RESULT: u16 = 0x16;

/// One instruction of classic BPF, in the layout of `struct sock_filter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Instruction {
    code: u16,
    if_true: u8,
    if_false: u8,
    operand: u32,
}

/// The length of the program.
const LEN: usize = 13;

/// How datagrams are spread over the sockets of a group.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Steering {
    /// Odd, so that no two indices become one.
    secret: u32,
    members: u16,
}

impl Steering {
    /// Spreads over `members` sockets, at least one, by 31 bits of a random secret.
    #[must_use]
    pub const fn new(members: u16, secret: u32) -> Self {
        Self { secret: secret | 1, members: if members == 0 { 1 } else { members } }
    }

    /// The number of sockets.
    #[must_use]
    pub const fn members(&self) -> usize {
        self.members as usize
    }

    /// The socket that messages with this receiver index go to.
    #[must_use]
    pub const fn member_of(&self, receiver_index: u32) -> usize {
        let mixed = receiver_index.swap_bytes().wrapping_mul(self.secret);
        // The product of two numbers below 2^16.
        (((mixed >> 16) * self.members as u32) >> 16) as usize
    }

    /// The same as a program.
    pub(super) const fn program(&self) -> [Instruction; LEN] {
        const fn plain(code: u16, operand: u32) -> Instruction {
            Instruction { code, if_true: 0, if_false: 0, operand }
        }
        const fn skip_if(operand: u32, if_true: u8) -> Instruction {
            Instruction { code: JUMP_IF_EQUAL, if_true, if_false: 0, operand }
        }
        [
            // Outside a short datagram this ends the program with 0, as do the loads further down.
            plain(LOAD_WORD, 0),
            skip_if(TRANSPORT_DATA, 3),
            skip_if(COOKIE_REPLY, 2),
            skip_if(RESPONSE, 3),
            plain(RETURN_CONSTANT, 0),
            plain(LOAD_WORD, RECEIVER_INDEX),
            plain(JUMP, 1),
            plain(LOAD_WORD, RECEIVER_INDEX_OF_RESPONSE),
            plain(MULTIPLY, self.secret),
            plain(SHIFT_RIGHT, 16),
            plain(MULTIPLY, self.members as u32),
            plain(SHIFT_RIGHT, 16),
            plain(RETURN_RESULT, 0),
        ]
    }
}

/// The secret is left out.
impl core::fmt::Debug for Steering {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Steering").field("members", &self.members).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Runs a program as the kernel does, as far as it is used here.
    fn run(program: &[Instruction], packet: &[u8]) -> u32 {
        let mut accumulator = 0_u32;
        let mut at = 0;
        loop {
            let Instruction { code, if_true, if_false, operand } = program[at];
            at += 1;
            match code {
                LOAD_WORD => {
                    let Some(word) = packet.get(operand as usize..).and_then(<[u8]>::first_chunk) else {
                        return 0;
                    };
                    accumulator = u32::from_be_bytes(*word);
                }
                JUMP => at += operand as usize,
                JUMP_IF_EQUAL => {
                    at += usize::from(if accumulator == operand { if_true } else { if_false });
                }
                MULTIPLY => accumulator = accumulator.wrapping_mul(operand),
                SHIFT_RIGHT => accumulator >>= operand,
                RETURN_CONSTANT => return operand,
                RETURN_RESULT => return accumulator,
                code => panic!("{code:#x}"),
            }
        }
    }

    /// Each kind of message that has a receiver index.
    fn messages(index: u32) -> [Vec<u8>; 3] {
        let index = index.to_le_bytes();
        [
            [&[4, 0, 0, 0][..], &index, &[0; 24]].concat(),
            [&[3, 0, 0, 0][..], &index, &[7; 56]].concat(),
            [&[2, 0, 0, 0, 9, 9, 9, 9][..], &index, &[7; 80]].concat(),
        ]
    }

    proptest! {
        #[test]
        fn program_and_function_agree(index: u32, secret: u32, members in 1..=u16::MAX) {
            let steering = Steering::new(members, secret);
            let member = steering.member_of(index);
            prop_assert!(member < steering.members());
            for message in messages(index) {
                prop_assert_eq!(run(&steering.program(), &message) as usize, member);
            }
        }

        #[test]
        fn whatever_has_no_receiver_index_goes_to_the_first(
            bytes in proptest::collection::vec(any::<u8>(), 0..40),
            kind in 0_u8..8,
            members in 1..=u16::MAX,
        ) {
            let mut bytes = bytes;
            if let Some(first) = bytes.first_mut() {
                *first = kind;
            }
            let has_index = match bytes.first_chunk() {
                Some([3 | 4, 0, 0, 0]) => bytes.len() >= 8,
                Some([2, 0, 0, 0]) => bytes.len() >= 12,
                _ => false,
            };
            prop_assume!(!has_index);
            prop_assert_eq!(run(&Steering::new(members, 0x9e37_79b9).program(), &bytes), 0);
        }
    }

    #[test]
    fn indices_are_spread_evenly_whichever_of_their_bits_differ() {
        for members in [2, 3, 8] {
            let steering = Steering::new(members, 0x9e37_79b9);
            for shift in 0..=24 {
                let mut hits = vec![0_u32; usize::from(members)];
                for n in 0..256_u32 {
                    hits[steering.member_of(n << shift)] += 1;
                }
                let fair = 256 / u32::from(members);
                assert!(
                    hits.iter().all(|&hit| hit > fair / 4 && hit < fair * 3),
                    "{members} {shift} {hits:?}"
                );
            }
        }
    }

    #[test]
    fn debug_output_keeps_the_secret() {
        assert_eq!(format!("{:?}", Steering::new(4, 12_345)), "Steering { members: 4, .. }");
    }

    #[test]
    fn one_socket_takes_all_and_none_is_one() {
        assert_eq!(Steering::new(0, 5).members(), 1);
        assert_eq!(Steering::new(1, 5).member_of(u32::MAX), 0);
    }
}
