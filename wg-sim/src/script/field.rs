//! The parts of an [`super::Op`]: each can be printed, read, drawn from bytes, and made simpler.

use super::bytes::Bytes;

/// A part of an operation.
pub(super) trait Field: Sized + Copy + PartialEq {
    /// Writes the word of the text form.
    fn print(self) -> String;

    /// Reads the word of the text form.
    fn parse(word: &str) -> Option<Self>;

    /// Takes the part from bytes; there are always enough, and the value is one that a run can afford.
    fn decode(bytes: &mut Bytes<'_>) -> Self;

    /// Writes the bytes that [`Self::decode`] takes it from, as far as it is such a value.
    fn encode(self, out: &mut Vec<u8>);

    /// Returns values that are simpler, the simplest first.
    fn simpler(self) -> Vec<Self>;
}

macro_rules! number {
    ($($type:ident, $wire:ident, $end:expr;)+) => {
        $(impl Field for $type {
            fn print(self) -> String {
                self.to_string()
            }

            fn parse(word: &str) -> Option<Self> {
                word.parse().ok()
            }

            fn decode(bytes: &mut Bytes<'_>) -> Self {
                Self::from($wire::from_le_bytes(bytes.take()) % $end)
            }

            fn encode(self, out: &mut Vec<u8>) {
                out.extend_from_slice(&$wire::try_from(self).unwrap_or($wire::MAX).to_le_bytes());
            }

            fn simpler(self) -> Vec<Self> {
                let mut simpler = vec![0, 1, self / 2, self - self / 8, self.saturating_sub(1)];
                // Towards zero, from either side.
                simpler.retain(|value| value.unsigned_abs_lt(self));
                simpler.dedup();
                simpler
            }
        })+
    };
}

/// Which of two numbers is nearer to zero.
trait Magnitude {
    fn unsigned_abs_lt(self, other: Self) -> bool;
}

macro_rules! magnitude {
    ($($type:ident: $abs:ident;)+) => {
        $(impl Magnitude for $type {
            fn unsigned_abs_lt(self, other: Self) -> bool {
                $abs(self) < $abs(other)
            }
        })+
    };
}

const fn same<T: Copy>(value: T) -> T {
    value
}

const fn abs(value: i64) -> u64 {
    value.unsigned_abs()
}

magnitude! { u8: same; u16: same; u32: same; i64: abs; }

number! {
    u8, u8, u8::MAX;
    u16, u16, 2_048;
    u32, u32, 400_000;
    i64, i32, i32::MAX;
}

impl Field for bool {
    fn print(self) -> String {
        if self { "on" } else { "off" }.to_owned()
    }

    fn parse(word: &str) -> Option<Self> {
        match word {
            "on" => Some(true),
            "off" => Some(false),
            _ => None,
        }
    }

    fn decode(bytes: &mut Bytes<'_>) -> Self {
        bytes.take::<1>()[0] % 2 == 1
    }

    fn encode(self, out: &mut Vec<u8>) {
        out.push(u8::from(self));
    }

    fn simpler(self) -> Vec<Self> {
        if self { vec![false] } else { vec![] }
    }
}

/// A choice among few, each with its word.
macro_rules! choice {
    ($type:ty) => {
        impl crate::script::field::Field for $type {
            fn print(self) -> String {
                let named = <$type>::ALL.iter().find(|(value, _)| *value == self);
                named.map_or_else(String::new, |(_, word)| (*word).to_owned())
            }

            fn parse(word: &str) -> Option<Self> {
                <$type>::ALL.iter().find(|(_, name)| *name == word).map(|(value, _)| *value)
            }

            fn decode(bytes: &mut crate::script::bytes::Bytes<'_>) -> Self {
                let [byte] = bytes.take();
                <$type>::ALL[usize::from(byte) % <$type>::ALL.len()].0
            }

            fn encode(self, out: &mut Vec<u8>) {
                let at = <$type>::ALL.iter().position(|(value, _)| *value == self);
                out.push(at.and_then(|at| u8::try_from(at).ok()).unwrap_or(0));
            }

            fn simpler(self) -> Vec<Self> {
                Vec::new()
            }
        }
    };
}

pub(super) use choice;

choice!(crate::clock::WhichClock);
