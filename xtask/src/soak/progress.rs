//! What was done, in a file that is replaced as a whole: whoever reads it finds the state after some unit.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Counters by name.
pub(super) type Counts = BTreeMap<String, u64>;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Row {
    done: BTreeSet<u64>,
    counts: Counts,
    /// Seeds at work; of no meaning to a later run.
    #[serde(skip)]
    taken: BTreeSet<u64>,
}

/// All rows that were begun.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Progress {
    rows: BTreeMap<String, Row>,
}

impl Progress {
    /// Reads the file, if there is one.
    pub(super) fn load(file: &Path) -> Result<Self, String> {
        match fs::read_to_string(file) {
            Ok(text) => serde_json::from_str(&text).map_err(|error| format!("{}: {error}", file.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(format!("{}: {error}", file.display())),
        }
    }

    /// Takes the next seed of a row that is neither done nor at work.
    pub(super) fn take(&mut self, row: &str, first: u64) -> u64 {
        let row = self.rows.entry(row.to_owned()).or_default();
        let free = |seed: &u64| !row.done.contains(seed) && !row.taken.contains(seed);
        let seed = (first..).find(free).unwrap_or(first);
        row.taken.insert(seed);
        seed
    }

    /// A unit is done.
    pub(super) fn done(&mut self, row: &str, seed: u64, counts: &Counts, file: &Path) -> Result<(), String> {
        let row = self.rows.entry(row.to_owned()).or_default();
        row.taken.remove(&seed);
        row.done.insert(seed);
        for (name, count) in counts {
            *row.counts.entry(name.clone()).or_default() += count;
        }
        self.save(file).map_err(|error| format!("{}: {error}", file.display()))
    }

    fn save(&self, file: &Path) -> std::io::Result<()> {
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        let new = file.with_extension("new");
        fs::write(&new, serde_json::to_string(self)?)?;
        fs::rename(&new, file)
    }

    pub(super) fn count(&self, row: &str, counter: &str) -> u64 {
        self.rows.get(row).and_then(|row| row.counts.get(counter)).copied().unwrap_or(0)
    }

    /// All counters of a row.
    pub(super) fn counts(&self, row: &str) -> Counts {
        self.rows.get(row).map(|row| row.counts.clone()).unwrap_or_default()
    }

    /// The sum of some counters of a row.
    pub(super) fn volume(&self, row: &str, counters: &[&str]) -> u64 {
        counters.iter().map(|counter| self.count(row, counter)).sum()
    }

    pub(super) fn runs(&self, row: &str) -> usize {
        self.rows.get(row).map_or(0, |row| row.done.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_run_goes_on_with_what_is_left() {
        let folder = std::env::temp_dir().join(format!("wg-soak-progress-{}", std::process::id()));
        let file = folder.join("progress.json");
        let counts = Counts::from([("packets".to_owned(), 5)]);
        let mut progress = Progress::load(&file).unwrap();
        assert_eq!((progress.take("S1", 7), progress.take("S1", 7), progress.take("S2", 7)), (7, 8, 7));
        progress.done("S1", 8, &counts, &file).unwrap();
        let mut again = Progress::load(&file).unwrap();
        assert_eq!((again.take("S1", 7), again.take("S1", 7)), (7, 9), "7 was not done");
        assert_eq!((again.volume("S1", &["packets", "steps"]), again.runs("S1")), (5, 1));
        fs::remove_dir_all(&folder).unwrap();
    }
}
