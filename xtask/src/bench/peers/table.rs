//! The results: rows for machines, a table for people, and Markdown for the record.

use core::fmt::Write as _;

use super::case::{Better, Figure, Measured};
use super::column::Column;
use crate::report::{self, Row, figure};

/// What stands in the place of a figure that could not be had.
pub(super) const NONE: &str = "-";

/// One line of the table: a figure, and for each column one sample of each round that gave one.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) figure: Figure,
    /// Of each column, by round.
    samples: Vec<Vec<(u32, f64)>>,
}

/// Everything that was measured.
#[derive(Debug)]
pub(super) struct Results {
    /// The bench, as its rows have it.
    bench: &'static str,
    pub(super) columns: Vec<Column>,
    lines: Vec<Line>,
    pub(super) notes: Vec<String>,
}

impl Results {
    pub(super) const fn new(bench: &'static str, columns: Vec<Column>) -> Self {
        Self { bench, columns, lines: Vec::new(), notes: Vec::new() }
    }

    /// The lines that are for people.
    pub(super) fn told(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(|line| line.is_told())
    }

    /// Takes what one turn of a column gave.
    pub(super) fn take(&mut self, at: usize, round: u32, measured: Measured) {
        for (figure, value) in measured.figures {
            let found = self.lines.iter().position(|line| line.figure == figure);
            let line = found.unwrap_or_else(|| {
                self.lines.push(Line { figure, samples: vec![Vec::new(); self.columns.len()] });
                self.lines.len() - 1
            });
            self.lines[line].samples[at].push((round, value));
        }
        for note in measured.notes {
            let note = format!("{}, {note}", self.columns[at].name);
            if !self.notes.contains(&note) {
                self.notes.push(note);
            }
        }
    }

    /// One row for each figure of each column.
    pub(super) fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for line in &self.lines {
            for (at, column) in self.columns.iter().enumerate().filter(|(at, _)| line.has(*at)) {
                rows.push(self.row(
                    &column.name,
                    &line.figure,
                    line.figure.metric,
                    line.figure.unit,
                    &line.values(at),
                ));
            }
        }
        rows
    }

    /// One row for each ratio of one of our columns to the best peer, to each peer, and to the gateway as it is by itself.
    pub(super) fn ratios(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for line in &self.lines {
            for (at, column) in
                self.columns.iter().enumerate().filter(|(at, column)| column.is_ours() && line.has(*at))
            {
                let mut add = |name: &str, other: usize| {
                    let ratios = line.ratios(at, other);
                    if !ratios.is_empty() {
                        let metric = format!("{} / {name}", line.figure.metric);
                        rows.push(self.row(&column.name, &line.figure, &metric, "ratio", &ratios));
                    }
                };
                if let Some(best) = self.best_peer(line) {
                    add("best peer", best);
                }
                for (other, against) in self.columns.iter().enumerate() {
                    let is_plain = against.is_ours() && self.is_plain(other);
                    if other != at && (against.is_peer() || is_plain) {
                        add(&against.name, other);
                    }
                }
            }
        }
        rows
    }

    /// A table of medians, with the ratio of the gateway to the best peer.
    pub(super) fn print(&self) {
        let mut lines = vec![vec!["figure (median)".to_owned()]];
        lines[0].extend(self.columns.iter().map(|column| column.name.clone()));
        lines[0].extend(["ours / best peer".to_owned(), String::new()]);
        let ours = self.columns.iter().position(Column::is_ours);
        for line in self.told() {
            let mut cells = vec![line.title()];
            cells.extend(
                (0..self.columns.len()).map(|at| line.median(at).map_or_else(|| NONE.into(), figure)),
            );
            if let Some(ratio) = ours.and_then(|ours| self.ratio_to_best(line, ours)) {
                let better = (ratio > 1.0) == (line.figure.better == Better::More);
                cells.extend([figure(ratio), if better { "better" } else { "worse" }.to_owned()]);
            }
            lines.push(cells);
        }
        println!();
        report::print_table(&lines);
        for note in &self.notes {
            println!("{note}");
        }
    }

    /// The same for the record: medians with the least and the most, then all ratios.
    pub(super) fn markdown(&self, conditions: &str) -> String {
        let mut text =
            format!("# `cargo xtask bench peers`\n\n{conditions}\n\n## Medians (least to most)\n\n");
        let head = |text: &mut String, first: &str, names: &[&str]| {
            writeln!(text, "| {first} | {} |", names.join(" | ")).ok();
            writeln!(text, "|---{}|", "|---:".repeat(names.len())).ok();
        };
        let names: Vec<&str> = self.columns.iter().map(|column| column.name.as_str()).collect();
        head(&mut text, "figure", &names);
        for line in self.told() {
            let cells: Vec<String> = (0..self.columns.len()).map(|at| line.spread(at)).collect();
            writeln!(text, "| {} | {} |", line.title(), cells.join(" | ")).ok();
        }
        for (at, column) in self.columns.iter().enumerate().filter(|(_, column)| column.is_ours()) {
            let others: Vec<usize> = (0..self.columns.len())
                .filter(|other| *other != at && (self.columns[*other].is_peer() || self.is_plain(*other)))
                .collect();
            if others.is_empty() {
                continue;
            }
            write!(text, "\n## {}: ratio to each, median of the ratios of all rounds\n\n", column.name).ok();
            let names = others.iter().map(|other| self.columns[*other].name.as_str());
            let names: Vec<&str> = names.chain(["best peer"]).collect();
            head(&mut text, "figure", &names);
            for line in self.told().filter(|line| line.has(at)) {
                let ratio =
                    |other: usize| median(&line.ratios(at, other)).map_or_else(|| NONE.into(), figure);
                let mut cells: Vec<String> = others.iter().map(|other| ratio(*other)).collect();
                cells.push(self.ratio_to_best(line, at).map_or_else(|| NONE.into(), figure));
                let less = if line.figure.better == Better::Less { " (less is better)" } else { "" };
                writeln!(text, "| {}{less} | {} |", line.title(), cells.join(" | ")).ok();
            }
        }
        self.append_notes(&mut text);
        text
    }

    /// What could not be measured, and why.
    pub(super) fn append_notes(&self, text: &mut String) {
        if !self.notes.is_empty() {
            *text += "\n## Notes\n\n";
            for note in &self.notes {
                writeln!(text, "- {note}").ok();
            }
        }
    }

    fn row(&self, subject: &str, figure: &Figure, metric: &str, unit: &str, samples: &[f64]) -> Row {
        Row::new(self.bench, subject, &figure.case, metric, unit, samples)
    }

    /// Whether this column is the gateway without arguments: the first of ours.
    fn is_plain(&self, at: usize) -> bool {
        self.columns.iter().position(Column::is_ours) == Some(at)
    }

    /// The peer with the best median.
    fn best_peer(&self, line: &Line) -> Option<usize> {
        let peers = (0..self.columns.len()).filter(|at| self.columns[*at].is_peer());
        let medians = peers.filter_map(|at| Some((at, line.median(at)?)));
        let best = match line.figure.better {
            Better::More => medians.max_by(|a, b| a.1.total_cmp(&b.1)),
            Better::Less => medians.min_by(|a, b| a.1.total_cmp(&b.1)),
        };
        best.map(|(at, _)| at)
    }

    fn ratio_to_best(&self, line: &Line, ours: usize) -> Option<f64> {
        median(&line.ratios(ours, self.best_peer(line)?))
    }
}

impl Line {
    pub(super) fn title(&self) -> String {
        let Figure { case, metric, unit, .. } = &self.figure;
        format!("{case}: {metric}, {unit}")
    }

    /// A figure that is zero everywhere is in the file for machines alone.
    fn is_told(&self) -> bool {
        self.samples.iter().flatten().any(|(_, value)| *value != 0.0)
    }

    fn has(&self, at: usize) -> bool {
        !self.samples[at].is_empty()
    }

    fn values(&self, at: usize) -> Vec<f64> {
        self.samples[at].iter().map(|(_, value)| *value).collect()
    }

    fn median(&self, at: usize) -> Option<f64> {
        median(&self.values(at))
    }

    pub(super) fn spread(&self, at: usize) -> String {
        let values = self.values(at);
        let Some(median) = median(&values) else { return NONE.into() };
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        format!("{} ({} to {})", figure(median), figure(least), figure(most))
    }

    /// The ratios of two columns in those rounds that have a sample of both.
    pub(super) fn ratios(&self, ours: usize, other: usize) -> Vec<f64> {
        let of_round = |round: u32| self.samples[other].iter().find(|(at, _)| *at == round);
        let pairs = self.samples[ours].iter().filter_map(|(round, value)| Some((value, of_round(*round)?.1)));
        pairs.filter(|(_, other)| *other > 0.0).map(|(value, other)| value / other).collect()
    }
}

pub(super) fn median(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| Row::new("", "", "", "", "", values).median)
}

#[cfg(test)]
mod tests {
    use wg_netns::Program;

    use super::*;

    fn column(name: &str, program: Option<Program>) -> Column {
        Column { name: name.into(), launch: program.map(Into::into), version: String::new() }
    }

    fn results() -> Results {
        let mut results = Results::new(
            "peers",
            vec![
                column("no tunnel", None),
                column("ours", Some(Program::Gateway)),
                column("ours --slow", Some(Program::Gateway)),
                column("boringtun", Some(Program::Boringtun)),
                column("gotatun", Some(Program::Gotatun)),
            ],
        );
        // Round by round: the machine is slower in the second.
        for (round, speed) in [(1, 1.0), (2, 0.5), (3, 1.0)] {
            for (at, (rate, trip)) in
                [(100.0, 0.1), (12.0, 1.0), (6.0, 2.0), (2.0, 8.0), (3.0, 10.0)].into_iter().enumerate()
            {
                let figure = |metric, better| Figure { case: "c".into(), metric, unit: "u", better };
                let mut measured = Measured::default();
                measured.figures.push((figure("rate", Better::More), rate * speed));
                if at != 3 || round != 2 {
                    measured.figures.push((figure("trip", Better::Less), trip / speed));
                }
                measured.figures.push((figure("reordered", Better::Less), 0.0));
                measured.notes.push("a reason".into());
                results.take(at, round, measured);
            }
        }
        results
    }

    #[test]
    fn ratios_are_those_within_a_round_and_to_the_best_peer() {
        let rows = results().ratios();
        let ratio = |subject: &str, metric: &str| {
            let row = rows.iter().find(|row| row.subject == subject && row.metric == metric);
            row.map(|row| (row.median, row.n))
        };
        assert_eq!(ratio("ours", "rate / best peer"), Some((4.0, 3)), "gotatun has the most");
        assert_eq!(ratio("ours", "rate / boringtun"), Some((6.0, 3)));
        assert_eq!(
            ratio("ours", "trip / best peer"),
            Some((0.125, 2)),
            "boringtun has the least, in two rounds"
        );
        assert_eq!(ratio("ours --slow", "rate / ours"), Some((0.5, 3)));
        assert_eq!(ratio("ours", "rate / no tunnel"), None);
        assert_eq!(ratio("ours", "reordered / best peer"), None, "nothing is no denominator");
    }

    #[test]
    fn markdown_has_a_line_for_each_figure_and_a_note_once() {
        let results = results();
        let text = results.markdown("conditions");
        assert!(text.contains("| c: rate, u | 100 (50.0 to 100) | 12.0 (6.00 to 12.0) |"), "{text}");
        assert!(text.contains("| c: trip, u (less is better) | 0.125 | 0.100 | 0.125 |"), "{text}");
        assert!(!text.contains("reordered"), "what is zero everywhere is left out");
        assert_eq!(text.matches("ours, a reason").count(), 1);
        assert_eq!(results.rows().len(), 15);
    }
}
