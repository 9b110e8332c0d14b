//! A progress bar on a terminal for steps that take longer than a second; nothing otherwise.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Duration of a step from which a bar is shown.
const SHOWN_AFTER: Duration = Duration::from_secs(1);

/// A progress bar on standard error, so that the output can be piped.
pub struct Progress {
    began: Instant,
    what: String,
    total: u64,
    /// Whether the numbers are bytes.
    bytes: bool,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Creates a bar for `total` items.
    pub fn of(what: impl Into<String>, total: u64) -> Self {
        Self { began: Instant::now(), what: what.into(), total, bytes: false, bar: None }
    }

    /// Creates a bar for `total` bytes.
    pub fn of_bytes(what: impl Into<String>, total: u64) -> Self {
        let mut progress = Self::of(what, total);
        progress.bytes = true;
        progress
    }

    /// Updates the number of processed items.
    pub fn at(&mut self, done: u64) {
        if self.bar.is_none() && self.began.elapsed() < SHOWN_AFTER {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            let target = ProgressDrawTarget::stderr();
            let bar = ProgressBar::with_draw_target(Some(self.total), target).with_message(self.what.clone());
            let count = if self.bytes { "{bytes}/{total_bytes}" } else { "{human_pos}/{human_len}" };
            // a template that cannot be read leaves the plain bar
            if let Ok(style) = ProgressStyle::with_template(&format!("{{msg}} {{wide_bar}} {count} {{eta}}")) {
                bar.set_style(style);
            }
            bar.with_elapsed(self.began.elapsed())
        });
        bar.set_position(done);
    }
}

/// Shows a spinner for a step of unknown length, until the result is dropped.
pub fn spinner(what: String) -> impl Drop {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()).with_message(what);
    bar.enable_steady_tick(SHOWN_AFTER);
    Cleared(bar)
}

struct Cleared(ProgressBar);

impl Drop for Cleared {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
