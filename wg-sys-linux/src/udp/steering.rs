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
//! Where counters are split ([`Steering::split`]) the socket of an index receives no transport data: blocks of 64 counters, as many as
//! one train has, go round the sockets of the others, or of those that are named ([`Steering::split_among`]). They open them for the
//! core of the session, see [`Steering::receiver_of`].
//!
//! ```text
//!  counter >> 6:         0        1        2        3
//!  of the socket 1 of 4: 2        3        0        2 ..
//! ```
//!
//! Steering reads what nobody has authenticated. An attacker can choose the socket, no more; that the session lives there is
//! checked again by whoever reads it.

mod receivers;

use receivers::Receivers;

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
const LOAD_BYTE: u16 = 0x30;
const KEEP: u16 = 0x02;
const LOAD_KEPT: u16 = 0x60;
const INDEX_KEPT: u16 = 0x61;
const INDEX_RESULT: u16 = 0x07;
const SHIFT_LEFT: u16 = 0x64;
const OR_INDEX: u16 = 0x4c;
const ADD_INDEX: u16 = 0x0c;
const ADD: u16 = 0x04;
const REMAINDER: u16 = 0x94;
const LOAD_INDEX: u16 = 0x87;
const JUMP_IF_NOT_BELOW: u16 = 0x35;

/// Where transport data has the lowest byte of its counter, and how many counters go to one socket, as a power of two. Three bytes are
/// looked at: with the fourth the round begins anew.
const COUNTER: u32 = 8;
const BLOCK: u32 = 6;

/// One instruction of classic BPF, in the layout of `struct sock_filter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Instruction {
    code: u16,
    if_true: u8,
    if_false: u8,
    operand: u32,
}

impl Instruction {
    const fn plain(code: u16, operand: u32) -> Self {
        Self { code, if_true: 0, if_false: 0, operand }
    }
}

/// The length of the program up to the number of the home.
const LEN: usize = 12;

/// Where transport data goes.
#[derive(Clone, PartialEq, Eq)]
enum Split {
    /// Home.
    Joined,
    /// To all others.
    Others,
    /// To those that are named.
    Among(Receivers),
}

/// How datagrams are spread over the sockets of a group.
#[derive(Clone, PartialEq, Eq)]
pub struct Steering {
    /// Odd, so that no two indices become one.
    secret: u32,
    members: u16,
    split: Split,
}

impl Steering {
    /// Spreads over `members` sockets, at least one, by 31 bits of a random secret.
    #[must_use]
    pub const fn new(members: u16, secret: u32) -> Self {
        Self { secret: secret | 1, members: if members == 0 { 1 } else { members }, split: Split::Joined }
    }

    /// The same, and transport data goes by its counters to the other sockets than that of its index, if `splits` and there are
    /// others.
    #[must_use]
    pub fn split(&self, splits: bool) -> Self {
        let split = if splits && self.members > 1 { Split::Others } else { Split::Joined };
        Self { split, ..*self }
    }

    /// The same, and transport data goes by its counters to the sockets that are named for that of its index, from the next on, or to the
    /// first of them, if all would make the program too long. Where none is named it goes to that of its index.
    #[must_use]
    pub fn split_among(&self, receivers: impl Fn(usize) -> Vec<usize>) -> Self {
        match Receivers::new(self.members, receivers) {
            Some(receivers) => Self { split: Split::Among(receivers), ..*self },
            None => self.split(true),
        }
    }

    /// Tells whether transport data goes by its counters.
    #[must_use]
    pub fn splits(&self) -> bool {
        self.split != Split::Joined
    }

    /// Tells whether a socket gets transport data of indices that belong to another.
    #[must_use]
    pub fn is_receiver(&self, home: usize, receiver: usize) -> bool {
        match &self.split {
            Split::Joined => false,
            Split::Others => home != receiver,
            Split::Among(receivers) => receivers.names(home, receiver),
        }
    }

    /// The socket that transport data of this index and counter goes to.
    #[must_use]
    pub fn receiver_of(&self, receiver_index: u32, counter: u64) -> usize {
        let home = self.member_of(receiver_index);
        // Below 2^18.
        let [low, middle, high, ..] = counter.to_le_bytes();
        let block =
            u32::from(low) >> BLOCK | u32::from(middle) << (8 - BLOCK) | u32::from(high) << (16 - BLOCK);
        let members = self.members();
        match &self.split {
            Split::Joined => home,
            Split::Others => (home + 1 + block as usize % (members - 1)) % members,
            Split::Among(receivers) => receivers.of(home, block).unwrap_or(home),
        }
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
    pub(super) fn program(&self) -> Vec<Instruction> {
        const fn skip_if(operand: u32, if_true: u8) -> Instruction {
            Instruction { code: JUMP_IF_EQUAL, if_true, if_false: 0, operand }
        }
        let members = u32::from(self.members);
        let home: [Instruction; LEN] = [
            // Outside a short datagram this ends the program with 0, as do the loads further down.
            Instruction::plain(LOAD_WORD, 0),
            skip_if(TRANSPORT_DATA, 3),
            skip_if(COOKIE_REPLY, 2),
            skip_if(RESPONSE, 3),
            Instruction::plain(RETURN_CONSTANT, 0),
            Instruction::plain(LOAD_WORD, RECEIVER_INDEX),
            Instruction::plain(JUMP, 1),
            Instruction::plain(LOAD_WORD, RECEIVER_INDEX_OF_RESPONSE),
            Instruction::plain(MULTIPLY, self.secret),
            Instruction::plain(SHIFT_RIGHT, 16),
            Instruction::plain(MULTIPLY, members),
            Instruction::plain(SHIFT_RIGHT, 16),
        ];
        let block = [
            Instruction::plain(KEEP, 0),
            Instruction::plain(LOAD_WORD, 0),
            skip_if(TRANSPORT_DATA, 2),
            Instruction::plain(LOAD_KEPT, 0),
            Instruction::plain(RETURN_RESULT, 0),
            // The counter is in the order of bytes that the program does not load in.
            Instruction::plain(LOAD_BYTE, COUNTER + 2),
            Instruction::plain(SHIFT_LEFT, 8),
            Instruction::plain(INDEX_RESULT, 0),
            Instruction::plain(LOAD_BYTE, COUNTER + 1),
            Instruction::plain(OR_INDEX, 0),
            Instruction::plain(SHIFT_LEFT, 8 - BLOCK),
            Instruction::plain(INDEX_RESULT, 0),
            Instruction::plain(LOAD_BYTE, COUNTER),
            Instruction::plain(SHIFT_RIGHT, BLOCK),
            Instruction::plain(OR_INDEX, 0),
        ];
        let round = [
            Instruction::plain(REMAINDER, members.saturating_sub(1)),
            Instruction::plain(INDEX_KEPT, 0),
            Instruction::plain(ADD_INDEX, 0),
            Instruction::plain(ADD, 1),
            Instruction::plain(REMAINDER, members),
        ];
        let mut program = home.to_vec();
        match &self.split {
            Split::Joined => {}
            Split::Others => program.extend(block.into_iter().chain(round)),
            Split::Among(receivers) => program.extend(block.into_iter().chain(receivers.program())),
        }
        program.push(Instruction::plain(RETURN_RESULT, 0));
        program
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
        let (mut accumulator, mut index, mut kept) = (0_u32, 0_u32, 0_u32);
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
                LOAD_BYTE => {
                    let Some(byte) = packet.get(operand as usize) else { return 0 };
                    accumulator = u32::from(*byte);
                }
                KEEP => kept = accumulator,
                LOAD_KEPT => accumulator = kept,
                INDEX_KEPT => index = kept,
                INDEX_RESULT => index = accumulator,
                SHIFT_LEFT => accumulator <<= operand,
                OR_INDEX => accumulator |= index,
                ADD_INDEX => accumulator = accumulator.wrapping_add(index),
                ADD => accumulator = accumulator.wrapping_add(operand),
                REMAINDER => accumulator %= operand,
                LOAD_INDEX => accumulator = index,
                JUMP_IF_NOT_BELOW => {
                    at += usize::from(if accumulator >= operand { if_true } else { if_false });
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
        fn data_goes_by_its_counter_to_another_than_its_home_and_the_rest_home(
            index: u32,
            counter: u64,
            secret: u32,
            members in 2..=u16::MAX,
        ) {
            let steering = Steering::new(members, secret).split(true);
            let home = steering.member_of(index);
            let (program, [mut data, cookie_reply, response]) = (steering.program(), messages(index));
            data[8..16].copy_from_slice(&counter.to_le_bytes());
            let receiver = run(&program, &data) as usize;
            prop_assert_eq!(receiver, steering.receiver_of(index, counter));
            prop_assert!(receiver < steering.members() && receiver != home);
            prop_assert_eq!(receiver, steering.receiver_of(index, counter / 64 * 64), "a block goes to one");
            prop_assert_eq!([&cookie_reply, &response].map(|message| run(&program, message) as usize), [home; 2]);
        }

        #[test]
        fn data_goes_to_those_that_are_named_for_its_home_and_the_rest_home(
            index: u32,
            counter: u64,
            secret: u32,
            named in proptest::collection::vec(proptest::collection::vec(0..12_usize, 0..12), 2..12),
        ) {
            let members = u16::try_from(named.len()).unwrap();
            let steering = Steering::new(members, secret).split_among(|home| named[home].clone());
            let home = steering.member_of(index);
            let (program, [mut data, cookie_reply, response]) = (steering.program(), messages(index));
            data[8..16].copy_from_slice(&counter.to_le_bytes());
            let receiver = run(&program, &data) as usize;
            prop_assert_eq!(receiver, steering.receiver_of(index, counter));
            let others: Vec<_> = named[home].iter().filter(|other| **other != home && **other < named.len()).collect();
            prop_assert!(others.contains(&&receiver) || others.is_empty() && receiver == home);
            prop_assert_eq!(receiver, steering.receiver_of(index, counter / 64 * 64), "a block goes to one");
            prop_assert_eq!([&cookie_reply, &response].map(|message| run(&program, message) as usize), [home; 2]);
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
    fn blocks_of_a_session_go_round_the_others() {
        let steering = Steering::new(4, 0x9e37_79b9).split(true);
        let index = (0..).find(|index| steering.member_of(*index) == 1).unwrap();
        let receivers = [0, 63, 64, 128, 192, 256].map(|counter| steering.receiver_of(index, counter));
        assert_eq!(receivers, [2, 2, 3, 0, 2, 3]);
        let alone = Steering::new(1, 5).split(true);
        assert!(!alone.splits() && alone.receiver_of(7, 64) == 0);
        assert_eq!(steering.split(false).receiver_of(index, 64), 1);
    }

    #[test]
    fn those_that_are_named_have_their_turns_and_all_others_are_no_list() {
        let steering = Steering::new(6, 0x9e37_79b9);
        let index = (0..).find(|index| steering.member_of(*index) == 4).unwrap();
        // Nodes whose cores alternate, and nobody for the first.
        let among = steering.split_among(|home| {
            if home == 0 { vec![] } else { vec![home, home % 2, home % 2 + 2, home % 2 + 4] }
        });
        let receivers = [0, 63, 64, 128, 192].map(|counter| among.receiver_of(index, counter));
        assert_eq!(receivers, [0, 0, 2, 0, 2]);
        let first = (0..).find(|index| steering.member_of(*index) == 0).unwrap();
        assert_eq!(among.receiver_of(first, 64), 0);
        let named: Vec<_> = (0..6).map(|receiver| among.is_receiver(4, receiver)).collect();
        assert_eq!(named, [true, false, true, false, false, false]);
        assert!(steering.split(true).is_receiver(4, 5) && !steering.is_receiver(4, 5));
        assert_eq!(steering.split_among(|_| (0..6).collect()), steering.split(true));
        assert_eq!(among.split(false), steering);
    }

    #[test]
    fn lists_are_cut_until_the_program_is_short_enough() {
        // Nodes whose cores alternate: each core is a run of its own.
        for (members, most) in [(32, 15), (64, 7), (256, 1)] {
            let steering = Steering::new(members, 0x9e37_79b9);
            let node = |home: usize| {
                (0..usize::from(members)).filter(move |other| (home + other).is_multiple_of(2)).collect()
            };
            let among = steering.split_among(node);
            let index = (0..).find(|index| steering.member_of(*index) == 5).unwrap();
            let mut hit: Vec<_> = (0..256).map(|block| among.receiver_of(index, block * 64)).collect();
            hit.sort_unstable();
            hit.dedup();
            assert_eq!(hit.len(), most, "{members}");
            assert!(hit.iter().all(|receiver| receiver % 2 == 1 && *receiver != 5));
            assert!(among.program().len() < 1700);
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
