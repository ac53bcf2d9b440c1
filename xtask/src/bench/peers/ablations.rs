//! The gateway beside itself with one part switched off at a time: what each is worth.
//!
//! Each variant is a row here, and its figures are ratios to the gateway as it is, within a round. The first row is the gateway
//! once more: what it differs by is what chance does, and the others mean something as far as they differ by more.

use core::fmt::Write as _;

use super::case::{Better, Case, Figure};
use super::column::Variant;
use super::table::{Line, NONE, Results, median};
use crate::report::{self, figure};

/// What of the cases is measured, unless something is said.
pub(super) const CASES: [Case; 3] = [Case::Tcp, Case::Udp, Case::Ping];
/// Bytes of inner packets, unless something is said.
pub(super) const SIZES: [usize; 2] = [64, 1400];
const AGAIN: &str = "once more";

/// Parts of the gateway that can be switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Part {
    /// All offloads, and each of them.
    Offloads,
    /// Several packets at once in the AEAD.
    Aead,
    /// Packets that are not copied for their own sake.
    Copies,
    /// The queue that is fair.
    Queue,
    /// To go before other programs.
    Priority,
    /// One thread that does everything.
    Strategies,
}

impl Part {
    const ALL: [Self; 6] =
        [Self::Offloads, Self::Aead, Self::Copies, Self::Queue, Self::Priority, Self::Strategies];

    /// The feature that its variants are built with.
    const fn feature(self) -> Option<&'static str> {
        match self {
            Self::Copies => Some("measure-copies"),
            _ => None,
        }
    }

    /// Its variants, with the arguments that make them. `tun-csum=off` is not there: it is `tun=off`.
    const fn variants(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Offloads => &[
                ("all=off", "--offload all=off"),
                ("tun=off", "--offload tun=off"),
                ("tun-tso=off", "--offload tun-tso=off"),
                ("tun-uso=off", "--offload tun-uso=off"),
                ("udp-gso=off", "--offload udp-gso=off"),
                ("udp-gro=off", "--offload udp-gro=off"),
            ],
            Self::Aead => &[("one by one (ring)", "--aead ring"), ("portable", "--aead portable")],
            Self::Copies => &[("a copy each way", "")],
            Self::Queue => &[("fifo", "--queue fifo")],
            Self::Priority => &[
                ("not real-time", "--real-time off"),
                ("nice -15", "--nice=-15"),
                ("not real-time, nice -15", "--real-time off --nice=-15"),
            ],
            Self::Strategies => &[
                ("2 lanes inline", "--threads 2 --strategy inline"),
                ("2 lanes adaptive", "--threads 2 --strategy adaptive"),
                ("1 of 2 adaptive", "--threads 2 --lanes 1 --strategy adaptive"),
                ("1 of 2 pipelined", "--threads 2 --lanes 1 --strategy pipelined"),
                ("1 of 2 numa-pools", "--threads 2 --lanes 1 --strategy numa-pools"),
            ],
        }
    }
}

/// The variants of these parts, or of all if there are none.
pub(super) fn variants(parts: &[Part]) -> Vec<Variant> {
    let parts = if parts.is_empty() { &Part::ALL[..] } else { parts };
    let of_part = |part: &Part| {
        let feature = part.feature();
        let variant = move |(name, arguments): &(&str, &str)| Variant {
            name: (*name).to_owned(),
            arguments: (*arguments).to_owned(),
            feature,
        };
        part.variants().iter().map(variant)
    };
    let again = Variant { name: AGAIN.to_owned(), ..Variant::default() };
    [again].into_iter().chain(parts.iter().flat_map(of_part)).collect()
}

/// How each variant is had.
pub(super) fn legend(variants: &[Variant]) -> String {
    let different = variants.iter().filter_map(|variant| Some((&variant.name, variant.difference()?)));
    let told: Vec<String> = different.map(|(name, difference)| format!("{name}: {difference}")).collect();
    format!("{AGAIN}: the gateway as it is, for what chance does; {}.", told.join("; "))
}

impl Results {
    /// Prints the ratios of all variants, a row for each.
    pub(super) fn print_ablations(&self) {
        let told: Vec<&Line> = self.told().collect();
        println!("\nratios to the gateway as it is, medians of the rounds:");
        for (number, line) in (1..).zip(&told) {
            println!("  {number}: {}", title(line));
        }
        let numbers = (1..=told.len()).map(|number| number.to_string());
        let mut lines = vec![["variant".to_owned()].into_iter().chain(numbers).collect::<Vec<_>>()];
        for (at, name) in self.variants() {
            let cells = told.iter().map(|line| ratio(line, at).unwrap_or_else(|| NONE.into()));
            lines.push([name.to_owned()].into_iter().chain(cells).collect());
        }
        println!();
        report::print_table(&lines);
        for note in &self.notes {
            println!("{note}");
        }
    }

    /// The same for the record: ratios, and medians with the least and the most.
    pub(super) fn ablations_markdown(&self, conditions: &str) -> String {
        let mut text = format!("# `cargo xtask bench peers --ablations`\n\n{conditions}\n");
        let told: Vec<&Line> = self.told().collect();
        let head = |text: &mut String, what: &str, titles: Vec<String>| {
            writeln!(text, "\n## {what}\n\n| variant | {} |", titles.join(" | ")).ok();
            writeln!(text, "|---{}|", "|---:".repeat(titles.len())).ok();
        };
        let what = "Ratio to the gateway as it is, median of the ratios of all rounds (least to most)";
        head(&mut text, what, told.iter().map(|line| title(line)).collect());
        for (at, name) in self.variants() {
            let cells: Vec<String> =
                told.iter().map(|line| spread(&line.ratios(at, 0)).unwrap_or_else(|| NONE.into())).collect();
            writeln!(text, "| {name} | {} |", cells.join(" | ")).ok();
        }
        head(&mut text, "Medians (least to most)", told.iter().map(|line| line.title()).collect());
        for (at, column) in self.columns.iter().enumerate() {
            let cells: Vec<String> = told.iter().map(|line| line.spread(at)).collect();
            writeln!(text, "| {} | {} |", column.name, cells.join(" | ")).ok();
        }
        self.append_notes(&mut text);
        text
    }

    /// All but the first, which the others are compared with.
    fn variants(&self) -> impl Iterator<Item = (usize, &str)> {
        self.columns.iter().enumerate().skip(1).map(|(at, column)| (at, column.name.as_str()))
    }
}

fn title(line: &Line) -> String {
    let Figure { case, metric, better, .. } = &line.figure;
    format!("{case}: {metric}{}", if *better == Better::Less { " (less is better)" } else { "" })
}

fn ratio(line: &Line, at: usize) -> Option<String> {
    median(&line.ratios(at, 0)).map(figure)
}

fn spread(ratios: &[f64]) -> Option<String> {
    let median = median(ratios)?;
    let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
    let most = ratios.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    Some(format!("{} ({} to {})", figure(median), figure(least), figure(most)))
}

#[cfg(test)]
mod tests {
    use wg_netns::Program;

    use super::super::case::Measured;
    use super::super::column::Column;
    use super::*;

    #[test]
    fn each_part_has_variants_and_one_more_is_for_chance() {
        let all = variants(&[]);
        assert_eq!((all.len(), all[0].name.as_str()), (19, AGAIN));
        let named = |parts: &[Part]| -> Vec<(String, Option<String>)> {
            variants(parts).iter().map(|variant| (variant.name.clone(), variant.difference())).collect()
        };
        let again = (AGAIN.to_owned(), None);
        let fifo = ("fifo".to_owned(), Some("`--queue fifo`".to_owned()));
        assert_eq!(named(&[Part::Queue]), [again.clone(), fifo]);
        let copies =
            ("a copy each way".to_owned(), Some("built with the feature `measure-copies`".to_owned()));
        assert_eq!(named(&[Part::Copies]), [again, copies]);
        assert!(all[1..].iter().all(|variant| variant.difference().is_some()), "no other is for chance");
        let mut names: Vec<&String> = all.iter().map(|variant| &variant.name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all.len(), "rows are told apart by name");
        assert!(legend(&all).contains("fifo: `--queue fifo`"));
    }

    #[test]
    fn rows_are_variants_and_ratios_are_those_within_a_round() {
        let column = |name: &str| Column {
            name: name.into(),
            launch: Some(Program::Gateway.into()),
            version: String::new(),
        };
        let mut results = Results::new("ablations", vec![column("full"), column("slow")]);
        for (round, speed) in [(1, 1.0), (2, 0.5), (3, 2.0)] {
            for (at, rate) in [(0, 10.0), (1, if round == 2 { 4.0 } else { 5.0 })] {
                let rate_of = Figure { case: "c".into(), metric: "rate", unit: "u", better: Better::More };
                let trip_of = Figure { case: "c".into(), metric: "trip", unit: "u", better: Better::Less };
                let mut measured = Measured::default();
                measured.figures.push((rate_of, rate * speed));
                if at == 0 {
                    measured.figures.push((trip_of, speed));
                }
                results.take(at, round, measured);
            }
        }
        let text = results.ablations_markdown("conditions");
        assert!(text.contains("| variant | c: rate | c: trip (less is better) |"), "{text}");
        assert!(text.contains("| slow | 0.500 (0.400 to 0.500) | - |"), "{text}");
        assert!(text.contains("| variant | c: rate, u | c: trip, u |"), "{text}");
        assert!(text.contains("| full | 10.0 (5.00 to 20.0) | 1.00 (0.500 to 2.00) |"), "{text}");
    }
}
