//! Results: rows for machines, tables for people.

use std::path::Path;

use serde::{Deserialize, Serialize};

/// One figure of a bench, over several samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    /// The bench.
    pub(crate) bench: String,
    /// What was measured: a program, backend or strategy.
    pub(crate) subject: String,
    /// Under which conditions.
    pub(crate) case: String,
    /// Which figure.
    pub(crate) metric: String,
    /// Its unit.
    pub(crate) unit: String,
    /// The median of the samples.
    pub(crate) median: f64,
    /// The smallest sample.
    pub(crate) min: f64,
    /// The largest sample.
    pub(crate) max: f64,
    /// How many samples.
    pub(crate) n: usize,
}

impl Row {
    /// Sums samples up.
    pub(crate) fn new(
        bench: &str,
        subject: &str,
        case: &str,
        metric: &str,
        unit: &str,
        samples: &[f64],
    ) -> Self {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        let last = sorted.len().saturating_sub(1);
        Self {
            bench: bench.into(),
            subject: subject.into(),
            case: case.into(),
            metric: metric.into(),
            unit: unit.into(),
            median: f64::midpoint(at(last / 2), at(sorted.len() / 2)),
            min: at(0),
            max: at(last),
            n: sorted.len(),
        }
    }
}

/// Writes rows as a JSON array.
pub(crate) fn write_json(path: &Path, rows: &[Row]) -> Result<(), String> {
    let json = serde_json::to_string_pretty(rows).map_err(|error| error.to_string())?;
    std::fs::write(path, json + "\n").map_err(|error| format!("{}: {error}", path.display()))
}

/// Prints lines with aligned columns: the first to the left, the others to the right.
pub(crate) fn print_table(lines: &[Vec<String>]) {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for line in lines {
        let mut text = String::new();
        for (column, cell) in line.iter().enumerate() {
            let width = widths[column];
            text += &if column == 0 { format!("{cell:<width$}") } else { format!("  {cell:>width$}") };
        }
        println!("{}", text.trim_end());
    }
}

/// A figure with about three digits that matter.
pub(crate) fn figure(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.digits$}")
}

/// A number of bytes in the unit that suits it.
pub(crate) fn bytes(count: u64) -> String {
    let mut value = count as f64;
    for unit in ["B", "KiB", "MiB"] {
        if value < 1024.0 {
            return format!("{} {unit}", if unit == "B" { count.to_string() } else { figure(value) });
        }
        value /= 1024.0;
    }
    format!("{} GiB", figure(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_of_even_and_odd_counts() {
        let row = |samples: &[f64]| Row::new("b", "s", "c", "m", "u", samples);
        assert_eq!((row(&[3.0, 1.0, 2.0]).median, row(&[4.0, 1.0, 2.0, 3.0]).median), (2.0, 2.5));
        assert_eq!((row(&[3.0, 1.0]).min, row(&[3.0, 1.0]).max, row(&[3.0]).n), (1.0, 3.0, 1));
        assert!(row(&[]).median.is_nan());
    }

    #[test]
    fn rows_have_the_agreed_names() {
        let json = serde_json::to_value(Row::new("b", "s", "c", "m", "u", &[1.0])).unwrap();
        let expected = serde_json::json!({
            "bench": "b", "subject": "s", "case": "c", "metric": "m", "unit": "u",
            "median": 1.0, "min": 1.0, "max": 1.0, "n": 1,
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn sizes_are_readable() {
        assert_eq!((bytes(1000).as_str(), bytes(1536).as_str()), ("1000 B", "1.50 KiB"));
        assert_eq!((bytes(3 << 20).as_str(), bytes(5 << 40).as_str()), ("3.00 MiB", "5120 GiB"));
        assert_eq!((figure(123.4).as_str(), figure(0.1234).as_str()), ("123", "0.123"));
    }
}
