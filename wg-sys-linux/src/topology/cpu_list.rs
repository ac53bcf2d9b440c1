//! Lists of processors as the kernel writes them: `0-3,8,10-11`.

use core::ops::RangeInclusive;

/// Some processors. A range takes no room by its length, so that no number in a file is too large.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct CpuList(Vec<RangeInclusive<u32>>);

impl CpuList {
    /// Reads a list; nothing but white space is an empty one.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.is_empty() {
            return Some(Self::default());
        }
        text.split(',').map(range).collect::<Option<_>>().map(Self)
    }

    pub(super) fn contains(&self, number: u32) -> bool {
        self.0.iter().any(|range| range.contains(&number))
    }

    /// Returns the lowest.
    pub(super) fn first(&self) -> Option<u32> {
        self.0.iter().map(|range| *range.start()).min()
    }

    /// Returns all of them, in the order of the list.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        self.0.iter().cloned().flatten()
    }
}

fn range(text: &str) -> Option<RangeInclusive<u32>> {
    // `parse` would take a sign.
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?;
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(text)?, number(text)?),
    };
    (first <= last).then_some(first..=last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_the_kernel_writes_them() {
        for (text, numbers) in [
            ("", &[][..]),
            ("\n", &[]),
            ("0\n", &[0]),
            ("0-3,8,10-11\n", &[0, 1, 2, 3, 8, 10, 11]),
            ("7,2", &[7, 2]),
        ] {
            let list = CpuList::parse(text).unwrap();
            assert_eq!(list.iter().collect::<Vec<_>>(), numbers, "{text:?}");
            assert_eq!(list.first(), numbers.iter().copied().min());
            assert!(numbers.iter().all(|&number| list.contains(number)));
            assert!(!list.contains(4));
        }
    }

    #[test]
    fn anything_else_is_no_list() {
        for text in [
            "x",
            ",",
            "0,",
            "3-1",
            "-1",
            "1-",
            "-",
            "+1",
            "1-2-3",
            "0x1",
            "4294967296",
            "0-31:2/4",
            "00000000,3f",
            "1 2",
        ] {
            assert_eq!(CpuList::parse(text), None, "{text:?}");
        }
        let all = CpuList::parse("0-4294967295").unwrap();
        assert!(all.contains(u32::MAX) && all.first() == Some(0));
    }
}
