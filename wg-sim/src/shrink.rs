//! Makes a failing script small: first whole runs of operations go, then what is left is made simpler.

use crate::script::{NodeKind, Op, Script};

/// Runs of scripts that a shrinking may take.
const ATTEMPTS: usize = 4000;

/// Returns the smallest script found for which `fails` still holds, as it must for `script`.
///
/// # Examples
///
/// ```
/// use wg_sim::{Op, Profile, Script, shrink};
///
/// let fails = |script: &Script| script.ops.iter().any(|op| matches!(op, Op::Restart { .. }));
/// let script = (0..).map(|seed| Script::random(seed, Profile::Everything, 100)).find(fails).expect("one of them");
/// assert_eq!(shrink(&script, fails).ops, [Op::Restart { host: 0 }]);
/// ```
pub fn shrink(script: &Script, fails: impl FnMut(&Script) -> bool) -> Script {
    let mut search = Search { best: script.clone(), fails, left: ATTEMPTS };
    loop {
        let before = search.best.clone();
        search.remove_operations();
        search.simplify_nodes();
        search.simplify_operations();
        if search.best == before || search.left == 0 {
            return search.best;
        }
    }
}

struct Search<F> {
    best: Script,
    fails: F,
    left: usize,
}

impl<F: FnMut(&Script) -> bool> Search<F> {
    /// Takes a candidate if it fails too.
    fn take(&mut self, candidate: Script) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        let fails = (self.fails)(&candidate);
        if fails {
            self.best = candidate;
        }
        fails
    }

    /// Removes runs of operations, from half of them down to one, for as long as it still fails.
    fn remove_operations(&mut self) {
        let mut size = self.best.ops.len().div_ceil(2);
        while size > 0 {
            let mut start = 0;
            while start < self.best.ops.len() {
                let mut candidate = self.best.clone();
                candidate.ops.drain(start..(start + size).min(candidate.ops.len()));
                if !self.take(candidate) {
                    start += size;
                }
            }
            size = if size == 1 { 0 } else { size.div_ceil(2) };
        }
    }

    fn simplify_nodes(&mut self) {
        while self.best.nodes.len() > 2 {
            let mut candidate = self.best.clone();
            candidate.nodes.pop();
            if !self.take(candidate) {
                break;
            }
        }
        for at in 0..self.best.nodes.len() {
            let mut candidate = self.best.clone();
            candidate.nodes[at] = NodeKind::Peer;
            if candidate != self.best {
                self.take(candidate);
            }
        }
        for seed in 0..2 {
            if self.best.seed > seed {
                let candidate = Script { seed, ..self.best.clone() };
                self.take(candidate);
            }
        }
    }

    fn simplify_operations(&mut self) {
        let mut at = 0;
        while let Some(op) = self.best.ops.get(at).copied() {
            let simpler = op.simpler().into_iter().any(|simpler: Op| {
                let mut candidate = self.best.clone();
                candidate.ops[at] = simpler;
                self.take(candidate)
            });
            at += usize::from(!simpler);
        }
    }
}
