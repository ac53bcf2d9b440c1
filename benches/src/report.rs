//! Results as rows: one shape for every bench, for people and for machines.

use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

/// One measured figure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The bench.
    pub bench: String,
    /// What was measured: a program, backend or strategy.
    pub subject: String,
    /// Under which conditions.
    pub case: String,
    /// Which figure.
    pub metric: String,
    /// Its unit.
    pub unit: String,
    /// The median of the samples.
    pub median: f64,
    /// The smallest sample.
    pub min: f64,
    /// The largest sample.
    pub max: f64,
    /// How many samples.
    pub n: usize,
}

impl Row {
    /// Sums samples up in a row; without any, all figures are NaN.
    #[must_use]
    pub fn new(bench: &str, subject: &str, case: &str, metric: &str, unit: &str, samples: &[f64]) -> Self {
        let mut sorted = samples.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        let n = sorted.len();
        Self {
            bench: bench.into(),
            subject: subject.into(),
            case: case.into(),
            metric: metric.into(),
            unit: unit.into(),
            median: f64::midpoint(at(n.saturating_sub(1) / 2), at(n / 2)),
            min: at(0),
            max: at(n.saturating_sub(1)),
            n,
        }
    }

    /// The same samples as another figure, computed from each; `figure` may turn the order around.
    #[must_use]
    pub fn derive(&self, metric: &str, unit: &str, figure: impl Fn(f64) -> f64) -> Self {
        let (a, b) = (figure(self.min), figure(self.max));
        Self {
            metric: metric.into(),
            unit: unit.into(),
            median: figure(self.median),
            min: a.min(b),
            max: a.max(b),
            ..self.clone()
        }
    }
}

/// Prints rows to standard output as a table.
pub fn print_table(rows: &[Row]) {
    print!("{}", format_table(rows));
}

/// Lays rows out as a table, one line each.
#[must_use]
pub fn format_table(rows: &[Row]) -> String {
    let head = ["bench", "subject", "case", "metric", "median", "min", "max", "unit", "n"].map(String::from);
    let cells = |row: &Row| {
        let [median, min, max] = [row.median, row.min, row.max].map(figure);
        let [bench, subject, case, metric, unit] =
            [&row.bench, &row.subject, &row.case, &row.metric, &row.unit].map(String::clone);
        [bench, subject, case, metric, median, min, max, unit, row.n.to_string()]
    };
    let lines: Vec<_> = core::iter::once(head).chain(rows.iter().map(cells)).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 9] = core::array::from_fn(width);
    let mut table = String::new();
    for line in &lines {
        let numeric = |column: usize| matches!(column, 4..=6 | 8);
        let padded = line.iter().zip(widths).enumerate().map(|(column, (cell, width))| {
            if numeric(column) { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        table.push_str(padded.collect::<Vec<_>>().join("  ").trim_end());
        table.push('\n');
    }
    table
}

/// Writes rows to a file as a JSON array.
///
/// # Errors
///
/// The error of the file system.
pub fn write_json(path: &Path, rows: &[Row]) -> io::Result<()> {
    let mut json = serde_json::to_string_pretty(rows)?;
    json.push('\n');
    fs::write(path, json)
}

/// Tells of rounds on standard error as they end, if somebody looks at it.
pub fn progress(rounds: usize) -> impl Fn(usize) {
    let live = io::stderr().is_terminal();
    move |round| {
        if live {
            let end = if round == rounds { '\n' } else { '\r' };
            eprint!("round {round} of {rounds}{end}");
            io::stderr().flush().ok();
        }
    }
}

/// Ends a bench: with its rows in a file, if that is wanted.
#[must_use]
pub fn end(json: Option<&Path>, rows: &[Row]) -> ExitCode {
    if let Some(path) = json
        && let Err(error) = write_json(path, rows)
    {
        eprintln!("cannot write {}: {error}", path.display());
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Four digits that matter.
fn figure(value: f64) -> String {
    match value.abs() {
        0.0..10.0 => format!("{value:.3}"),
        10.0..100.0 => format!("{value:.2}"),
        100.0..1000.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(samples: &[f64]) -> Row {
        Row::new("seal", "ring", "64 B", "time", "ns/packet", samples)
    }

    #[test]
    fn a_row_sums_its_samples_up() {
        let odd = row(&[3.0, 1.0, 2.0]);
        assert_eq!((odd.median, odd.min, odd.max, odd.n), (2.0, 1.0, 3.0, 3));
        assert_eq!(row(&[4.0, 1.0, 2.0, 3.0]).median, 2.5);
        assert!(row(&[]).median.is_nan());
    }

    #[test]
    fn a_derived_figure_keeps_min_below_max() {
        let rate = row(&[10.0, 20.0, 40.0]).derive("rate", "1/ns", |ns| 1.0 / ns);
        assert_eq!((rate.median, rate.min, rate.max, rate.unit.as_str()), (0.05, 0.025, 0.1, "1/ns"));
    }

    #[test]
    fn columns_line_up() {
        let table = format_table(&[row(&[1.0]), row(&[12_345.0])]);
        assert_eq!(
            table,
            "bench  subject  case  metric  median    min    max  unit       n\n\
             seal   ring     64 B  time     1.000  1.000  1.000  ns/packet  1\n\
             seal   ring     64 B  time     12345  12345  12345  ns/packet  1\n"
        );
    }

    #[test]
    fn rows_survive_a_file() {
        let path = std::env::temp_dir().join(format!("wg-benches-{}.json", std::process::id()));
        let rows = [row(&[1.5]), row(&[2.5, 3.5])];
        write_json(&path, &rows).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(serde_json::from_str::<Vec<Row>>(&text).unwrap(), rows);
        let first: serde_json::Value = serde_json::from_str::<Vec<_>>(&text).unwrap().swap_remove(0);
        let keys: Vec<_> = first.as_object().unwrap().keys().map(String::as_str).collect();
        let mut expected = ["bench", "subject", "case", "metric", "unit", "median", "min", "max", "n"];
        expected.sort_unstable();
        assert_eq!(keys, expected);
    }
}
