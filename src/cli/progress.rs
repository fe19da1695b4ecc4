//! How far a command is: a bar on a terminal, lines at growing intervals elsewhere.

use std::fmt::Display;
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::console::Console;

/// The first line of progress comes after this.
const FIRST_LINE: Duration = Duration::from_secs(2);
/// From line to line the time doubles up to this.
const LONGEST_INTERVAL: Duration = Duration::from_secs(60);

/// A bar, or what stands in for one.
pub struct Progress {
    bar: Option<ProgressBar>,
    next: Duration,
    interval: Duration,
}

impl Progress {
    /// Progress towards `length`, if that is known.
    pub fn new(length: Option<u64>) -> Progress {
        let terminal = std::io::stderr().is_terminal();
        let bar = terminal.then(|| {
            let template = match length {
                Some(_) => "{bar:24} {percent:>3}%  {msg}",
                None => "{spinner} {msg}",
            };
            let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr());
            // The templates above are sound; if they were not, the default would do.
            bar.set_style(
                ProgressStyle::with_template(template)
                    .unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
            bar
        });
        Progress {
            bar,
            next: FIRST_LINE,
            interval: FIRST_LINE,
        }
    }

    /// Shows how far it is, after this time.
    pub fn show(
        &mut self,
        console: &mut Console,
        done: u64,
        elapsed: Duration,
        message: impl FnOnce() -> String,
    ) {
        if let Some(bar) = &self.bar {
            bar.set_position(done);
            bar.set_message(message());
            bar.tick();
        } else if elapsed >= self.next {
            self.interval = (self.interval * 2).min(LONGEST_INTERVAL);
            self.next = elapsed + self.interval;
            console.print(format_args!("{}\n", message()));
        }
    }

    /// Prints something that is to stay.
    pub fn print(&self, console: &mut Console, text: impl Display) {
        match &self.bar {
            Some(bar) => bar.suspend(|| console.print(text)),
            None => console.print(text),
        }
    }

    /// Takes the bar away.
    pub fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
