//! The figures of a turn, and the table that compares two programs.

use core::fmt;
use core::time::Duration;

use super::turn::NEWCOMER_LIMIT;
use crate::report::{self, figure};

/// A difference that the next run may turn round.
const NOISE: f64 = 0.03;

/// What came of one turn.
#[derive(Debug)]
pub(super) struct Figures {
    /// Datagrams a second that left.
    pub(super) rate: f64,
    pub(super) goodput_before: f64,
    pub(super) goodput: f64,
    pub(super) echo_before: Option<f64>,
    pub(super) echo_median: Option<f64>,
    pub(super) echo_99: Option<f64>,
    pub(super) echo_loss: f64,
    pub(super) processor_before: f64,
    pub(super) processor: f64,
    pub(super) newcomers: Vec<Option<Duration>>,
    /// KiB.
    pub(super) memory_grown: u64,
    pub(super) recovery: Duration,
    pub(super) sent: u64,
    pub(super) sent_bytes: u64,
    pub(super) answered: u64,
    pub(super) answered_bytes: u64,
    pub(super) overflowed: u64,
}

impl Figures {
    /// The share of the goodput that the flood left.
    fn left(&self) -> f64 {
        self.goodput / self.goodput_before.max(1e-9)
    }

    /// The share of newcomers that had a session in time.
    fn in_time(&self) -> f64 {
        let in_time = self.newcomers.iter().flatten().filter(|time| **time <= NEWCOMER_LIMIT).count();
        in_time as f64 / self.newcomers.len().max(1) as f64
    }

    /// Seconds until half of the newcomers had one; infinite if they had not.
    fn half_in(&self) -> f64 {
        let mut times: Vec<f64> =
            self.newcomers.iter().map(|time| time.map_or(f64::INFINITY, |time| time.as_secs_f64())).collect();
        times.sort_by(f64::total_cmp);
        times.get(times.len() / 2).copied().unwrap_or(f64::INFINITY)
    }

    /// Bytes that came back for each that was sent.
    fn amplification(&self) -> f64 {
        self.answered_bytes as f64 / self.sent_bytes.max(1) as f64
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} a second, TCP {} of {} Gbit/s, echo {} ms, newcomers {:.0} % in time",
            figure(self.rate),
            figure(self.goodput),
            figure(self.goodput_before),
            figure(self.echo_99.unwrap_or(f64::NAN)),
            100.0 * self.in_time(),
        )
    }
}

/// How a figure is judged.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Better {
    /// More is better, and it counts.
    More,
    /// Less is better; differences of less than this are none.
    Less(f64),
    /// Only told.
    Told,
}

type Figure = (&'static str, &'static str, Better, fn(&Figures) -> f64);

/// Each with its unit. That of a share is a percentage.
const FIGURES: [Figure; 18] = [
    ("rate reached", "1/s", Better::Told, |f| f.rate),
    ("TCP left by the flood", "%", Better::More, |f| 100.0 * f.left()),
    ("TCP, flood to a sink", "Gbit/s", Better::Told, |f| f.goodput_before),
    ("TCP under flood", "Gbit/s", Better::Told, |f| f.goodput),
    ("newcomers in time", "%", Better::More, |f| 100.0 * f.in_time()),
    ("newcomers, median", "s", Better::Told, Figures::half_in),
    ("echo, flood to a sink, median", "ms", Better::Told, |f| f.echo_before.unwrap_or(f64::NAN)),
    ("echo, median", "ms", Better::Less(1.0), |f| f.echo_median.unwrap_or(f64::INFINITY)),
    ("echo, 99 of 100", "ms", Better::Less(3.0), |f| f.echo_99.unwrap_or(f64::INFINITY)),
    ("echo, lost", "%", Better::Less(0.5), |f| 100.0 * f.echo_loss),
    ("recovery", "s", Better::Less(0.5), |f| f.recovery.as_secs_f64()),
    ("memory grown", "KiB", Better::Less(256.0), |f| f.memory_grown as f64),
    ("processor, flood to a sink, no TCP", "%", Better::Told, |f| 100.0 * f.processor_before),
    ("processor under flood, no TCP", "%", Better::Told, |f| 100.0 * f.processor),
    ("sent", "datagrams", Better::Told, |f| f.sent as f64),
    ("answered", "packets", Better::Told, |f| f.answered as f64),
    ("bytes back for a byte sent", "", Better::Told, Figures::amplification),
    ("found the socket full", "datagrams", Better::Told, |f| f.overflowed as f64),
];

/// The turns of one program in one row.
#[derive(Debug, Default)]
pub(super) struct Samples(Vec<Figures>);

impl Samples {
    pub(super) fn push(&mut self, figures: Figures) {
        self.0.push(figures);
    }

    fn row(&self, case: &str, subject: &str, figure: &Figure) -> report::Row {
        let values: Vec<f64> = self.0.iter().map(figure.3).collect();
        report::Row::new("flood", subject, case, figure.0, figure.1, &values)
    }

    fn median(&self, figure: &Figure) -> f64 {
        self.row("", "", figure).median
    }
}

/// The rows for machines.
pub(super) fn rows(case: &str, programs: [&str; 2], samples: &[Samples; 2]) -> Vec<report::Row> {
    let of = |figure| programs.iter().zip(samples).map(move |(program, s)| s.row(case, program, figure));
    FIGURES.iter().flat_map(of).collect()
}

/// The table for people.
pub(super) fn table(samples: &[Samples; 2]) -> Vec<Vec<String>> {
    let title = |text: &str| text.to_owned();
    let mut lines = vec![vec![
        title("figure (median)"),
        title("wg-gateway"),
        title("wireguard-go"),
        title("ratio"),
        title(""),
    ]];
    for one in &FIGURES {
        let [ours, theirs] = samples.each_ref().map(|samples| samples.median(one));
        let ratio = ours / theirs;
        lines.push(vec![
            if one.1.is_empty() { title(one.0) } else { format!("{}, {}", one.0, one.1) },
            figure(ours),
            figure(theirs),
            if ratio.is_finite() { figure(ratio) } else { String::new() },
            title(verdict(one.2, ours, theirs)),
        ]);
    }
    lines
}

/// The figures that count and in which the first is worse.
pub(super) fn worse(samples: &[Samples; 2]) -> impl Iterator<Item = &'static str> {
    let worse = |one: &Figure| {
        let [ours, theirs] = samples.each_ref().map(|samples| samples.median(one));
        (verdict(one.2, ours, theirs) == "worse").then_some(one.0)
    };
    FIGURES.iter().filter_map(worse)
}

fn verdict(better: Better, ours: f64, theirs: f64) -> &'static str {
    let (gain, noise) = match better {
        Better::Told => return "",
        Better::More => (ours - theirs, NOISE * theirs.abs()),
        Better::Less(noise) => (theirs - ours, noise),
    };
    // Two infinite figures differ by no number.
    if gain > noise {
        "better"
    } else if gain < -noise {
        "worse"
    } else {
        "equal"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_leave_room_for_noise() {
        assert_eq!(verdict(Better::More, 99.0, 97.0), "equal");
        assert_eq!(verdict(Better::More, 99.0, 90.0), "better");
        assert_eq!(verdict(Better::More, 60.0, 90.0), "worse");
        assert_eq!(verdict(Better::Less(3.0), 4.0, 2.0), "equal");
        assert_eq!(verdict(Better::Less(3.0), 9.0, 2.0), "worse");
        assert_eq!(verdict(Better::Less(3.0), 1.0, f64::INFINITY), "better");
        assert_eq!(verdict(Better::Less(3.0), f64::INFINITY, f64::INFINITY), "equal");
        assert_eq!(verdict(Better::Told, 1.0, 2.0), "");
    }
}
