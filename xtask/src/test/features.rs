//! Whatever has features, or is published, builds with each feature, with each pair of them, with none and with all.

use crate::cargo::{self, command};
use crate::test::Outcome;

/// Runs the stage.
pub(super) fn run() -> Result<Outcome, String> {
    for package in
        cargo::packages()?.iter().filter(|package| package.published || !package.features.is_empty())
    {
        for features in combinations(&package.features) {
            println!("{} with [{features}]", package.name);
            let mut check =
                command(&["clippy", "--quiet", "--no-default-features", "--package", &package.name]);
            check.args(["--features", &features, "--", "-D", "warnings"]);
            cargo::run(&mut check)?;
        }
    }
    Ok(Outcome::Passed)
}

/// None, each, each pair, and all, as `--features` takes them.
fn combinations(features: &[String]) -> Vec<String> {
    let mut combinations = vec![String::new()];
    for (at, one) in features.iter().enumerate() {
        combinations.push(one.clone());
        combinations.extend(features[at + 1..].iter().map(|other| format!("{one},{other}")));
    }
    if features.len() > 2 {
        combinations.push(features.join(","));
    }
    combinations
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn combinations_are_none_each_pair_and_all() {
        let names = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(combinations(&[]), [""]);
        assert_eq!(combinations(&names("a b")), ["", "a", "a,b", "b"]);
        assert_eq!(combinations(&names("a b c")), ["", "a", "a,b", "a,c", "b", "b,c", "c", "a,b,c"]);
    }
}
