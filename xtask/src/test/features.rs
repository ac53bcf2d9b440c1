//! Whatever has features, or is published, builds with each feature, with none and with all, and with each pair of them where
//! there is time for that.

use crate::cargo::{self, command};
use crate::test::{Outcome, is_ci};

/// Runs the stage.
pub(super) fn run() -> Result<Outcome, String> {
    for package in
        cargo::packages()?.iter().filter(|package| package.published || !package.features.is_empty())
    {
        for features in combinations(&package.features, Pairs::if_there_is_time()) {
            println!("{} with [{features}]", package.name);
            let mut check =
                command(&["clippy", "--quiet", "--no-default-features", "--package", &package.name]);
            check.args(["--features", &features, "--", "-D", "warnings"]);
            cargo::run(&mut check)?;
        }
    }
    Ok(Outcome::Passed)
}

/// Whether pairs of features are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pairs {
    Built,
    LeftOut,
}

impl Pairs {
    /// There are three times as many combinations with them, and a run that everybody waits for has a limit.
    fn if_there_is_time() -> Self {
        if is_ci() { Self::LeftOut } else { Self::Built }
    }
}

/// None, each, each pair if they are built, and all, as `--features` takes them.
fn combinations(features: &[String], pairs: Pairs) -> Vec<String> {
    let mut combinations = vec![String::new()];
    for (at, one) in features.iter().enumerate() {
        combinations.push(one.clone());
        if pairs == Pairs::Built {
            combinations.extend(features[at + 1..].iter().map(|other| format!("{one},{other}")));
        }
    }
    if features.len() > 2 || (features.len() == 2 && pairs == Pairs::LeftOut) {
        combinations.push(features.join(","));
    }
    combinations
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn combinations_are_none_each_and_all() {
        let names = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(combinations(&names("a"), Pairs::LeftOut), ["", "a"]);
        assert_eq!(combinations(&names("a b"), Pairs::LeftOut), ["", "a", "b", "a,b"]);
        assert_eq!(combinations(&names("a b c"), Pairs::LeftOut), ["", "a", "b", "c", "a,b,c"]);
    }

    #[test]
    fn combinations_are_none_each_pair_and_all() {
        let names = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let combinations = |features: &[String]| combinations(features, Pairs::Built);
        assert_eq!(combinations(&[]), [""]);
        assert_eq!(combinations(&names("a b")), ["", "a", "a,b", "b"]);
        assert_eq!(combinations(&names("a b c")), ["", "a", "a,b", "a,c", "b", "b,c", "c", "a,b,c"]);
    }
}
