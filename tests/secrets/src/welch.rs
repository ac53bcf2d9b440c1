//! Whether two classes of measurements differ: the t-test of Welch, as dudect uses it (Reparaz, Balasch and Verbauwhede, "Dude, is
//! my code constant time?", 2017).

/// From here on it is worth to measure again.
pub const SUSPECT: f64 = 4.5;

/// Measurements of two classes.
#[derive(Clone, Debug, Default)]
pub struct Classes([Vec<f64>; 2]);

impl Classes {
    /// Adds a measurement to a class: the first or the second.
    pub fn push(&mut self, class: usize, measured: f64) {
        self.0[class % 2].push(measured);
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The t of largest magnitude, of all measurements and of those below some quantiles: what interrupts a measurement makes it
    /// longer, and has nothing to do with what is measured.
    #[must_use]
    pub fn t(&self) -> f64 {
        let mut all: Vec<f64> = self.0.iter().flatten().copied().collect();
        all.sort_unstable_by(f64::total_cmp);
        let quantile = |part: usize| {
            let at = all.len() * part / 100;
            all.get(at).copied().unwrap_or(f64::INFINITY)
        };
        [100, 99, 90, 75, 50]
            .map(|part| self.t_below(quantile(part)))
            .into_iter()
            .fold(0.0, |most: f64, t| if t.abs() > most.abs() { t } else { most })
    }

    fn t_below(&self, limit: f64) -> f64 {
        let [(mean_a, error_a), (mean_b, error_b)] = self.0.each_ref().map(|class| {
            let values: Vec<f64> = class.iter().copied().filter(|value| *value < limit).collect();
            let n = values.len() as f64;
            let mean = values.iter().sum::<f64>() / n;
            let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
            (mean, variance / n)
        });
        let t = (mean_a - mean_b) / (error_a + error_b).sqrt();
        if t.is_finite() { t } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two classes whose means are `apart`, with noise and now and then an interruption.
    fn classes(apart: f64) -> Classes {
        let mut classes = Classes::default();
        let mut state = 1_u64;
        for at in 0..20_000_usize {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            let noise = (state >> 40) as f64 / f64::from(1 << 24) * 20.0;
            let interruption = if state >> 33 & 1023 == 0 { 5000.0 } else { 0.0 };
            classes.push(at % 2, 500.0 + noise + interruption + if at % 2 == 1 { apart } else { 0.0 });
        }
        classes
    }

    #[test]
    fn classes_that_differ_are_told_apart_and_others_are_not() {
        assert!(classes(0.0).t().abs() < SUSPECT, "{}", classes(0.0).t());
        assert!(classes(2.0).t() < -SUSPECT, "{}", classes(2.0).t());
        assert!(classes(-2.0).t() > SUSPECT, "{}", classes(-2.0).t());
        assert_eq!(Classes::default().t(), 0.0);
    }
}
