//! What keeps clients from being served, said when it begins, when it changes and when it is over, and not each time: a process
//! without descriptors fails ten times a second, for as long as it has none.

use std::io;

/// A failure that repeats itself.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    /// What was said last: the step, and the number of the error.
    said: Option<(&'static str, Option<i32>)>,
    /// How often that came again, unsaid.
    again: u64,
}

impl Trouble {
    /// A step failed; returns what is to be said of it, if that was not said already.
    pub(super) fn failed(&mut self, step: &'static str, error: &io::Error) -> Option<String> {
        let this = Some((step, error.raw_os_error()));
        if self.said == this {
            self.again = self.again.saturating_add(1);
            return None;
        }
        self.said = this;
        let before = self.take_again();
        Some(format!("{step}: {error}{before}"))
    }

    /// A client is served; returns what is to be said of that, if there was a failure before.
    pub(super) fn over(&mut self) -> Option<String> {
        let (step, _) = self.said.take()?;
        Some(format!("no longer: {step}{}", self.take_again()))
    }

    fn take_again(&mut self) -> String {
        match core::mem::take(&mut self.again) {
            0 => String::new(),
            again => format!(" (the failure before came {again} more times)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_FILES: i32 = 24;
    const NO_FILES_ANYWHERE: i32 = 23;

    #[test]
    fn failure_is_said_when_it_begins_changes_and_ends() {
        let mut trouble = Trouble::default();
        let mut said = Vec::new();
        assert_eq!(trouble.over(), None, "all is well");
        for (step, number, times) in
            [("accept", NO_FILES, 50), ("accept", NO_FILES_ANYWHERE, 1), ("thread", NO_FILES_ANYWHERE, 3)]
        {
            let error = io::Error::from_raw_os_error(number);
            said.extend((0..times).filter_map(|_| trouble.failed(step, &error)));
        }
        said.extend(trouble.over());
        said.extend(trouble.over());
        said.extend(trouble.failed("accept", &io::Error::from_raw_os_error(NO_FILES)));
        let expected = [
            "accept: Too many open files (os error 24)",
            "accept: Too many open files in system (os error 23) (the failure before came 49 more times)",
            "thread: Too many open files in system (os error 23)",
            "no longer: thread (the failure before came 2 more times)",
            "accept: Too many open files (os error 24)",
        ];
        assert_eq!(said, expected);
    }
}
