//! Samples as counters, so that they add up over runs: one counter for each value, rounded up to two digits.

use core::time::Duration;
use std::collections::BTreeMap;

use crate::soak::progress::Counts;

/// Between the name of a figure and its value.
const OF: char = '=';

/// Adds to a counter.
pub(super) fn add(counts: &mut Counts, name: &str, more: u64) {
    *counts.entry(name.to_owned()).or_default() += more;
}

/// Takes a sample.
pub(super) fn sample(counts: &mut Counts, name: &str, value: u64) {
    add(counts, &format!("{name}{OF}{}", rounded_up(value)), 1);
}

/// Takes a time, in milliseconds begun.
pub(super) fn sample_ms(counts: &mut Counts, name: &str, time: Duration) {
    sample(counts, name, u64::try_from(time.as_micros().div_ceil(1000)).unwrap_or(u64::MAX));
}

/// The least number of two digits and zeros that is not below it.
fn rounded_up(value: u64) -> u64 {
    let mut unit = 1_u64;
    while value.div_ceil(unit) > 99 {
        unit = unit.saturating_mul(10);
    }
    value.div_ceil(unit).saturating_mul(unit)
}

/// Counters, then samples with their percentiles.
pub(super) fn table(counts: &Counts) -> Vec<Vec<String>> {
    let mut lines = vec![["figure", "count", "median", "90 %", "99 %", "most"].map(str::to_owned).to_vec()];
    let mut samples: BTreeMap<&str, BTreeMap<u64, u64>> = BTreeMap::new();
    for (name, count) in counts {
        match name.split_once(OF).and_then(|(name, value)| Some((name, value.parse().ok()?))) {
            Some((name, value)) => *samples.entry(name).or_default().entry(value).or_default() += count,
            None => lines.push(vec![name.clone(), count.to_string()]),
        }
    }
    for (name, values) in samples {
        let count: u64 = values.values().sum();
        let mut line = vec![name.to_owned(), count.to_string()];
        line.extend([50, 90, 99, 100].map(|percent| percentile(&values, count, percent).to_string()));
        lines.push(line);
    }
    let columns = lines[0].len();
    for line in &mut lines {
        line.resize(columns, String::new());
    }
    lines
}

/// The value that so many of a hundred samples do not exceed.
fn percentile(values: &BTreeMap<u64, u64>, count: u64, percent: u64) -> u64 {
    let mut left = (count * percent).div_ceil(100).max(1);
    for (value, count) in values {
        if *count >= left {
            return *value;
        }
        left -= count;
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_rounded_up_to_two_digits() {
        let table = [
            (0, 0),
            (1, 1),
            (99, 99),
            (100, 100),
            (101, 110),
            (990, 990),
            (991, 1000),
            (1001, 1100),
            (20_800, 21_000),
        ];
        for (value, rounded) in table {
            assert_eq!(rounded_up(value), rounded, "{value}");
        }
        assert!(rounded_up(u64::MAX) >= u64::MAX / 100 * 99);
    }

    #[test]
    fn percentiles_are_those_of_all_samples() {
        let mut counts = Counts::new();
        add(&mut counts, "kills", 3);
        for value in (1..=100).rev() {
            sample(&mut counts, "ms", value);
        }
        sample_ms(&mut counts, "other", Duration::from_micros(1001));
        let table = table(&counts);
        assert_eq!(table[1], ["kills", "3", "", "", "", ""]);
        assert_eq!(table[2], ["ms", "100", "50", "90", "99", "100"]);
        assert_eq!(table[3], ["other", "1", "2", "2", "2", "2"]);
    }
}
