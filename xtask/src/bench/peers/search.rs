//! Finds the highest rate at which at most one packet in a hundred is lost.

use super::load::Outcome;

const FIRST: u32 = 40_000;
const LOWEST: u32 = 1_000;
const HIGHEST: u32 = 16_000_000;
/// Steps between the last rate that passed and the first that did not: the last one is 3 % of the rate.
const HALVINGS: u32 = 5;
const LOSS: f64 = 0.01;
/// A rate that fails by this much is not tried again.
const HOPELESS: f64 = 0.05;

/// The best look of a search.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Best {
    /// What became of its packets; nothing arrived if no rate passed.
    pub(super) outcome: Outcome,
    /// Whether the generator could do no more.
    pub(super) is_of_the_generator: bool,
}

/// Doubles the rate while it passes, or halves it until it does, then halves the interval. What counts is what arrived, so a
/// look at which the generator sent less than it was asked for counts for what it sent.
pub(super) fn highest(mut look: impl FnMut(u32) -> Result<Outcome, String>) -> Result<Best, String> {
    let mut best = Best::default();
    let mut passes = |rate: u32| -> Result<bool, String> {
        // Twice: one hiccup of the machine, or of the generator, must not end the search.
        for _ in 0..2 {
            let outcome = look(rate)?;
            if outcome.sent > 0.0 && outcome.loss() <= LOSS {
                if outcome.arrived() > best.outcome.arrived() {
                    best = Best { outcome, is_of_the_generator: !outcome.kept_up() };
                }
                if outcome.kept_up() {
                    return Ok(true);
                }
            }
            if outcome.loss() > HOPELESS {
                return Ok(false);
            }
        }
        Ok(false)
    };
    let (mut good, mut bad) = (0, FIRST);
    if passes(FIRST)? {
        while bad <= HIGHEST && (bad == FIRST || passes(bad)?) {
            good = bad;
            bad *= 2;
        }
    } else {
        while good == 0 && bad > LOWEST {
            if passes(bad / 2)? {
                good = bad / 2;
            } else {
                bad /= 2;
            }
        }
    }
    for _ in 0..HALVINGS {
        let rate = u32::midpoint(good, bad);
        if passes(rate)? {
            good = rate;
        } else {
            bad = rate;
        }
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Something that carries `capacity` packets a second, with a generator that sends at most `sends`.
    fn found(capacity: f64, sends: f64) -> (f64, bool) {
        let look = |rate: u32| {
            let sent = f64::from(rate).min(sends);
            let received = sent.min(capacity);
            Ok(Outcome { sent, missed: f64::from(rate) - sent, received, reordered: 0.0, seconds: 1.0 })
        };
        let best = highest(look).unwrap();
        (best.outcome.arrived(), best.is_of_the_generator)
    }

    #[test]
    fn the_highest_rate_is_found_above_and_below_the_first() {
        for capacity in [3e3, 20e3, 83e3, 1.3e6, 9e6] {
            let (rate, of_generator) = found(capacity, f64::INFINITY);
            assert!((rate / capacity - 1.0).abs() < 0.05, "{rate} of {capacity}");
            assert!(!of_generator);
        }
    }

    #[test]
    fn a_slow_generator_is_named() {
        let (rate, of_generator) = found(9e6, 700e3);
        assert!((rate / 700e3 - 1.0).abs() < 0.05 && of_generator, "{rate} {of_generator}");
    }

    #[test]
    fn a_dead_end_is_no_endless_search() {
        assert_eq!(found(0.0, f64::INFINITY).0, 0.0);
    }

    #[test]
    fn one_hiccup_does_not_end_the_search() {
        let mut looks = 0;
        let best = highest(|rate| {
            looks += 1;
            let (sent, capacity) = (f64::from(rate), 100e3);
            // Every other look loses a little more than it may.
            let received = sent.min(capacity) * if looks % 2 == 0 { 1.0 } else { 0.98 };
            Ok(Outcome { sent, missed: 0.0, received, reordered: 0.0, seconds: 1.0 })
        });
        assert!(best.unwrap().outcome.arrived() > 95e3);
    }
}
