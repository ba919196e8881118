//! A progress bar, on a terminal only.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar over `total` operations on standard error; nothing where that is not a terminal. It
/// clears itself when dropped.
pub struct Progress(ProgressBar);

impl Progress {
    /// A bar that says `what` is being done.
    pub fn new(what: &str, total: u64) -> Self {
        let style = ProgressStyle::with_template(
            "{msg} {wide_bar:.cyan/black} {human_pos}/{human_len} operations, {eta} left",
        );
        let bar = ProgressBar::new(total).with_message(what.to_owned());
        Self(match style {
            Ok(style) => bar.with_style(style.progress_chars("█▉▊▋▌▍▎▏ ")),
            Err(_) => bar,
        })
    }

    /// `done` more operations are done.
    pub fn advance(&self, done: u64) {
        self.0.inc(done);
    }

    /// Begins again, doing something else.
    pub fn restart(&self, what: &str) {
        self.0.reset();
        self.0.set_message(what.to_owned());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
