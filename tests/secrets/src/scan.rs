//! Looks through the memory of its own process: heap, statics and stacks, whatever is mapped and readable.
//!
//! The kernel hands the memory out through `/proc/self/mem`, so nothing here needs `unsafe`. Registers are not looked at,
//! and neither is memory that was given back to the kernel.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use crate::masked::{Form, Kind, Masked, WINDOW, mask};

/// Bytes read at once.
const CHUNK: usize = 1 << 16;
/// Bits of the filter in front of the table.
const FILTER_BITS: u32 = 20;

/// Where something was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// On the stack of the thread that worked and is at rest, where it keeps nothing: dead stack.
    Stack,
    /// In a static of a program or library.
    Static,
    /// On the heap, or anywhere else.
    Heap,
}

/// Secrets found in one piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What kind it is.
    pub kind: Kind,
    /// Which one of its kind.
    pub name: String,
    /// In what form.
    pub form: Form,
    /// Where.
    pub place: Place,
    /// The address of its first byte.
    pub address: usize,
    /// Which byte of the secret that is.
    pub start: usize,
    /// How many bytes of it stand there in a row.
    pub length: usize,
}

/// Knows what to look for.
#[derive(Debug)]
pub struct Scanner {
    /// Masked windows: which secret, from which byte of it, in which form.
    windows: HashMap<u64, (usize, usize, Form)>,
    filter: Vec<u64>,
    secrets: Vec<Masked>,
    chunk: Vec<u8>,
}

/// One line of `/proc/self/maps`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Region {
    start: usize,
    end: usize,
    readable: bool,
    name: String,
}

impl Scanner {
    /// Takes the secrets to look for.
    #[must_use]
    pub fn new(secrets: Vec<Masked>) -> Self {
        let mut scanner = Self {
            windows: HashMap::new(),
            filter: vec![0; (1 << FILTER_BITS) / 64],
            secrets,
            chunk: vec![0; CHUNK],
        };
        for (number, secret) in scanner.secrets.iter().enumerate() {
            for form in Form::ALL {
                for (offset, window) in secret.windows(form).enumerate() {
                    scanner.windows.insert(window, (number, offset, form));
                    let (word, bit) = filter_place(window);
                    scanner.filter[word] |= bit;
                }
            }
        }
        scanner
    }

    /// Looks through everything but the buffer that it reads into. `stack` is an address on the stack of the thread that
    /// worked.
    ///
    /// # Errors
    ///
    /// That of the system.
    pub fn scan(&mut self, stack: usize) -> io::Result<Vec<Found>> {
        let memory = File::open("/proc/self/mem")?;
        let maps = std::fs::read_to_string("/proc/self/maps")?;
        let own = self.chunk.as_ptr().addr()..self.chunk.as_ptr().addr() + self.chunk.len();
        let mut found = Vec::new();
        for region in maps.lines().filter_map(Region::parse).filter(Region::may_hold_secrets) {
            let place = region.place(stack);
            let mut at = region.start;
            while at < region.end {
                let length = CHUNK.min(region.end - at);
                let mut chunk = core::mem::take(&mut self.chunk);
                // A region may have gone since, or end in pages that a file no longer backs.
                let read = memory.read_at(&mut chunk[..length], at as u64).unwrap_or(0);
                self.look(&chunk[..read], at, &own, place, &mut found);
                chunk.fill(0);
                self.chunk = chunk;
                // The next piece begins with the last bytes of this, which are no window yet.
                at += if length < CHUNK { length } else { length - (WINDOW - 1) };
            }
        }
        Ok(found)
    }

    fn look(
        &self,
        chunk: &[u8],
        base: usize,
        own: &core::ops::Range<usize>,
        place: Place,
        found: &mut Vec<Found>,
    ) {
        for (offset, window) in chunk.windows(WINDOW).enumerate() {
            let Ok(bytes) = window.try_into() else { continue };
            let masked = mask(u64::from_ne_bytes(bytes));
            let (word, bit) = filter_place(masked);
            if self.filter[word] & bit == 0 {
                continue;
            }
            let address = base + offset;
            let Some((number, start, form)) = self.windows.get(&masked).filter(|_| !own.contains(&address))
            else {
                continue;
            };
            let secret = &self.secrets[*number];
            match found.last_mut() {
                Some(last)
                    if last.address + last.length - (WINDOW - 1) == address
                        && last.name == secret.name
                        && last.form == *form =>
                {
                    last.length += 1;
                }
                _ => found.push(Found {
                    kind: secret.kind,
                    name: secret.name.clone(),
                    form: *form,
                    place,
                    address,
                    start: *start,
                    length: WINDOW,
                }),
            }
        }
    }
}

fn filter_place(window: u64) -> (usize, u64) {
    let hash = window.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - FILTER_BITS);
    (usize::try_from(hash / 64).unwrap_or(0), 1 << (hash % 64))
}

impl Region {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let address = |digits| usize::from_str_radix(digits, 16).ok();
        let rights = words.next()?;
        let name = words.nth(3).unwrap_or_default().to_owned();
        Some(Self { start: address(start)?, end: address(end)?, readable: rights.starts_with('r'), name })
    }

    /// What the kernel maps for its own use cannot be read this way; and the stack of the main thread is that of the scanner,
    /// which holds one window or another all the time. The work is done by another thread.
    fn may_hold_secrets(&self) -> bool {
        self.readable && !self.name.starts_with("[v") && self.name != "[stack]"
    }

    fn place(&self, stack: usize) -> Place {
        if (self.start..self.end).contains(&stack) {
            Place::Stack
        } else if self.name.starts_with('/') {
            Place::Static
        } else {
            Place::Heap
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_read() {
        let line = "7f0a-7f0b rw-p 00000000 00:00 0                          [stack]";
        let region = Region::parse(line).unwrap();
        assert_eq!((region.start, region.end, region.name.as_str()), (0x7f0a, 0x7f0b, "[stack]"));
        assert!(!region.may_hold_secrets());
        assert_eq!(Region::parse("10-20 r--p 0 08:01 7 /usr/lib/x.so").unwrap().place(0), Place::Static);
        let nameless = Region::parse("10-20 rw-p 0 00:00 0").unwrap();
        assert_eq!((nameless.place(0), nameless.place(0x18)), (Place::Heap, Place::Stack));
        assert!(!Region::parse("10-20 ---p 0 00:00 0").unwrap().may_hold_secrets());
        assert!(!Region::parse("10-20 r--p 0 00:00 0 [vvar]").unwrap().may_hold_secrets());
    }
}
