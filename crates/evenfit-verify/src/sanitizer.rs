//! Runs programs under AddressSanitizer or Valgrind, and reads the reports.

use std::process::Command;

/// The output of a run, and the report.
pub struct Run {
    /// Whether the program exited with 0.
    pub success: bool,
    /// Its standard output.
    pub printed: String,
    /// Its standard error.
    pub report: String,
}

impl Run {
    /// Runs `command`, which commits the fault that is its last argument.
    ///
    /// # Panics
    /// If it can't be run.
    pub fn of(command: &mut Command, fault: &str) -> Self {
        let output = command.arg(fault).output();
        let output = output.unwrap_or_else(|error| panic!("{command:?} can't be run: {error}"));
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self {
            success: output.status.success(),
            printed: text(output.stdout),
            report: text(output.stderr),
        }
    }

    /// Checks that the program did nothing wrong: it says so, and nothing is reported.
    ///
    /// # Panics
    /// If it isn't so.
    pub fn assert_silent(&self) {
        assert!(self.success, "{}{}", self.printed, self.report);
        let seen = (&*self.printed, &*self.report);
        assert_eq!(seen, ("silent\n", ""), "nothing to report");
    }

    /// Checks that the report has `title`, and behind `words` the address that the program printed
    /// before it accessed it.
    ///
    /// # Panics
    /// If it isn't so.
    pub fn assert_reported(&self, fault: &str, title: &str, words: &str) {
        assert!(!self.success, "{fault} went unnoticed");
        let mut printed = self.printed.lines();
        let address = printed.find_map(|line| line.strip_prefix("at 0x"));
        let address = address.unwrap_or_else(|| panic!("{}{}", self.printed, self.report));
        let is_named = self.report.lines().any(|line| {
            line.split_once(words).is_some_and(|(_, rest)| {
                let digits = rest.split(' ').next().unwrap_or_default();
                digits.trim_start_matches('0') == address
            })
        });
        assert!(
            is_named && self.report.contains(title),
            "{fault}: expected {title:?} and {words}{address} in\n{}",
            self.report
        );
    }
}
