//! All strategies side by side: the datapath from memory to memory on one thread and on two, and what it costs to hand a batch
//! from one thread to another.
//!
//! Out, the packets of a host are read, sealed and sent; in, trains of datagrams that wait in the sockets are received, opened and
//! delivered, and come to the sockets that the kernel would steer them to. All are of a session each, and nothing of it is the kernel's. Threads are pinned and
//! never sleep, so that a wake-up is in no figure but its own. In each round every strategy has its turn, after a round that
//! warms up, so what changes from one round to another hits all of them alike; the ratios to `inline` are those of the rounds.

mod edges;
mod handoff;
mod remote;
mod rig;

use core::time::Duration;

use wg_datapath::sched::StrategyKind;

use crate::report::Row;
use rig::{Direction, Load, Rig};

const BENCH: &str = "strategies";
/// The unit of what a batch pays.
const BATCH: &str = "ns/batch";
/// The unit of a time as a part of another.
const RATIO: &str = "of inline";

/// What to measure.
#[derive(Clone, Debug, clap::Args)]
pub struct Choice {
    /// On so many threads.
    #[arg(long, value_delimiter = ',', value_name = "THREADS", default_value = "1,2")]
    pub threads: Vec<u32>,
    /// Packets of so many bytes.
    #[arg(long, value_delimiter = ',', value_name = "BYTES", default_value = "64,1420")]
    pub lengths: Vec<usize>,
    /// Of so many peers.
    #[arg(long, value_delimiter = ',', value_name = "PEERS", default_value = "1,8")]
    pub peers: Vec<u8>,
    /// Packets of one sample.
    #[arg(long, value_name = "PACKETS", default_value_t = 8192)]
    pub packets: u64,
}

/// What was measured.
#[derive(Debug)]
pub struct Strategies {
    /// Nanoseconds per packet, packets a second, and what a hand-off costs.
    pub rows: Vec<Row>,
    /// The same, for people.
    pub table: String,
}

/// Measures; `progress` hears of each finished round.
///
/// # Panics
///
/// When a packet is lost.
pub fn run(choice: &Choice, rounds: usize, mut progress: impl FnMut(usize)) -> Strategies {
    let mut measured = Vec::new();
    for len in &choice.lengths {
        for peers in &choice.peers {
            for threads in &choice.threads {
                for kind in StrategyKind::ALL {
                    let load = Load {
                        len: (*len).max(rig::SHORTEST),
                        peers: (*peers).max(1),
                        packets: choice.packets,
                    };
                    let rig = Rig::new(*kind, *threads, load);
                    measured.push((case(load, *threads), *kind, rig, [const { Vec::new() }; 2]));
                }
            }
        }
    }
    let mut parts: Vec<_> = handoff::parts().into_iter().map(|part| (part, Vec::new())).collect();
    for round in 0..=rounds {
        for (_, _, rig, samples) in &mut measured {
            for (direction, samples) in Direction::ALL.into_iter().zip(samples) {
                let sample = rig.sample(direction);
                if round > 0 {
                    samples.push(sample.as_nanos() as f64 / choice.packets as f64);
                }
            }
        }
        for (part, samples) in &mut parts {
            let sample = (part.measure)();
            if round > 0 {
                samples.push(sample);
            }
        }
        progress(round);
    }
    let mut rows = Vec::new();
    for (at, direction) in Direction::ALL.into_iter().enumerate() {
        for (case, kind, _, samples) in &measured {
            let (name, samples) = (format!("{}, {case}", direction.name()), &samples[at]);
            let time = Row::new(BENCH, kind.name(), &name, "time", "ns/packet", samples);
            rows.push(time.derive("rate", "packets/s", |time| 1e9 / time));
            rows.push(time);
            let inline =
                measured.iter().find(|(other, kind, ..)| other == case && *kind == StrategyKind::Inline);
            if let Some((.., inline)) = inline {
                // By rounds, so that what slows both of them down is in neither.
                let ratios: Vec<_> =
                    samples.iter().zip(&inline[at]).map(|(time, inline)| time / inline).collect();
                rows.push(Row::new(BENCH, kind.name(), &name, "time", RATIO, &ratios));
            }
        }
    }
    let parts =
        parts.iter().map(|(part, samples)| Row::new(BENCH, part.name, part.case, "time", BATCH, samples));
    rows.extend(parts);
    let table = format_table(&rows);
    Strategies { rows, table }
}

fn case(load: Load, threads: u32) -> String {
    let plural = |count: u32| if count == 1 { "" } else { "s" };
    let peers = u32::from(load.peers);
    format!("{} B, {peers} peer{}, {threads} thread{}", load.len, plural(peers), plural(threads))
}

/// Lays rows out as tables in Markdown: strategies by case, with the spread, and what a batch pays.
#[must_use]
pub fn format_table(rows: &[Row]) -> String {
    let mut text = String::new();
    let of = |metric: &str, unit: &str| -> Vec<&Row> {
        rows.iter().filter(|row| row.metric == metric && row.unit == unit).collect()
    };
    for unit in ["ns/packet", RATIO] {
        let times = of("time", unit);
        let mut cases: Vec<&str> = times.iter().map(|row| row.case.as_str()).collect();
        cases.dedup();
        for group in cases.chunks(4) {
            text += &format!("| {unit} (least to most) | {} |\n", group.join(" | "));
            text += &format!("|---|{}\n", "---|".repeat(group.len()));
            for kind in StrategyKind::ALL {
                text += &format!("| `{kind}` |");
                for case in group {
                    let row = times.iter().find(|row| row.case == *case && row.subject == kind.name());
                    text += &row.map_or_else(|| " |".to_owned(), |row| format!(" {} |", spread(row)));
                }
                text.push('\n');
            }
            text.push('\n');
        }
    }
    let parts = of("time", BATCH);
    if !parts.is_empty() {
        text += "| hand-off | | ns (least to most) |\n|---|---|---|\n";
        for row in parts {
            text += &format!("| {} | {} | {} |\n", row.subject, row.case, spread(row));
        }
    }
    text
}

fn spread(row: &Row) -> String {
    let digits = match row.median {
        _ if row.unit == RATIO => 2,
        ..100.0 => 1,
        _ => 0,
    };
    format!("{:.digits$} ({:.digits$}-{:.digits$})", row.median, row.min, row.max)
}

/// The time of a piece of work, in nanoseconds for each of so many parts.
fn per(time: Duration, count: u32) -> f64 {
    time.as_secs_f64() * 1e9 / f64::from(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_strategy_has_a_figure_in_every_case() {
        let choice = Choice { threads: vec![1, 2], lengths: vec![64], peers: vec![1, 3], packets: 300 };
        let measured = run(&choice, 1, |_| ());
        let times = measured.rows.iter().filter(|row| row.unit == "ns/packet");
        assert_eq!(times.filter(|row| row.median > 0.0).count(), 8 * StrategyKind::ALL.len());
        for kind in StrategyKind::ALL {
            assert!(measured.table.contains(&format!("| `{kind}` |")), "{}", measured.table);
        }
        assert!(measured.table.contains("out, 64 B, 3 peers, 2 threads"));
        assert!(measured.table.contains("in, 64 B, 1 peer, 1 thread"));
        let ratios = measured.rows.iter().filter(|row| row.unit == RATIO);
        assert_eq!(ratios.clone().count(), 8 * StrategyKind::ALL.len());
        assert!(ratios.clone().all(|row| row.median > 0.0 && (row.subject != "inline" || row.median == 1.0)));
        assert!(measured.table.contains("| of inline (least to most) |"));
        let parts = measured.rows.iter().filter(|row| row.unit == BATCH);
        assert!(
            parts.clone().count() >= 6 && parts.clone().all(|row| row.median > 0.0),
            "{:?}",
            measured.rows
        );
    }
}
