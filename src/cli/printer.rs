//! The only place that prints: results on standard output, everything else on standard error.

use std::borrow::Cow;
use std::fs::File;
use std::io::{IsTerminal as _, Write as _};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

use crate::error::Error;
use crate::layout::for_app;
use crate::progress::Progress;

/// Between two signs of life where no bar can be drawn: a package manager's log is no terminal.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// How long nothing may move before that is said: a run has no limit as a whole.
const STILL: Duration = Duration::from_secs(120);

/// What was done when something last moved, and when that was.
struct Moved {
    what: String,
    done: u64,
    since: Instant,
}

impl Moved {
    /// Notes how much is done, and says how long nothing has moved where that is long.
    fn look(&mut self, what: &str, done: u64, now: Instant) -> Option<String> {
        if self.what != what || self.done != done {
            *self = Self { what: what.to_owned(), done, since: now };
        }
        let still = now.duration_since(self.since);
        (still >= STILL).then(|| format!(", no change for {} min", still.as_secs() / 60))
    }
}

/// How much is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Volume {
    /// Failures only.
    Quiet,
    /// Steps and facts.
    Normal,
    /// Facts that only help to find a cause, too.
    Verbose,
}

/// Prints progress, results and failures; keeps a copy of what it tells in a log.
pub struct Printer {
    app: String,
    volume: Volume,
    bar: Option<ProgressBar>,
    log: Mutex<Option<File>>,
    heartbeat: Mutex<(Instant, String)>,
    moved: Mutex<Moved>,
}

impl Printer {
    /// Returns the printer of an application for this volume; a bar is drawn on terminals only.
    pub fn new(app: &str, volume: Volume, plain: bool) -> Self {
        let drawn = !plain && volume != Volume::Quiet && std::io::stderr().is_terminal();
        Self {
            app: app.to_owned(),
            volume,
            bar: drawn.then(bar),
            log: Mutex::new(None),
            heartbeat: Mutex::new((Instant::now(), String::new())),
            moved: Mutex::new(Moved { what: String::new(), done: 0, since: Instant::now() }),
        }
    }

    /// Prints a result on standard output.
    pub fn result(&self, text: &str) {
        self.clear();
        // A reader that went away (`| head`) is no failure of ours.
        let text = visible(text);
        let _ = writeln!(std::io::stdout().lock(), "{}", for_app(&self.app, &text));
    }

    /// Asks a person for a yes; none where nobody sits at a terminal.
    pub fn ask(&self, lines: &[String], question: &str) -> Option<bool> {
        if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
            return None;
        }
        self.clear();
        for line in lines {
            self.tell(line);
        }
        let _ = write!(std::io::stderr().lock(), "{question} [y/N] ");
        let mut answer = String::new();
        let read = std::io::stdin().read_line(&mut answer);
        let yes = ["y", "yes"].contains(&answer.trim().to_lowercase().as_str());
        Some(read.is_ok() && yes)
    }

    /// Prints a failure in its four-line form on standard error.
    pub fn failure(&self, error: &Error) {
        self.clear();
        let mut text = format!("openwatch: {}\n", error.message());
        if !error.details().is_empty() {
            text.push_str(&part("detail", &error.details().join("\n")));
        }
        if let Some(state) = error.state_line() {
            text.push_str(&part("state", state));
        }
        if let Some(hint) = error.hint_line() {
            text.push_str(&part("hint", hint));
        }
        self.tell(text.trim_end());
    }

    /// Prints a line that another process wrote, as it is.
    pub fn relay(&self, line: &str) {
        self.show(line);
    }

    fn tell(&self, line: &str) {
        self.show(&visible(line));
    }

    fn show(&self, line: &str) {
        if let Some(bar) = &self.bar {
            bar.suspend(|| self.write(line));
        } else {
            self.write(line);
        }
    }

    fn write(&self, line: &str) {
        let line = for_app(&self.app, line);
        let _ = writeln!(std::io::stderr().lock(), "{line}");
        if let Ok(mut slot) = self.log.lock()
            && let Some(log) = slot.as_mut()
        {
            // The log is a convenience for whoever waits; a full disk must not fail the run.
            let _ = writeln!(log, "{line}");
        }
    }

    fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Progress for Printer {
    fn record(&self, log: File) {
        if let Ok(mut slot) = self.log.lock() {
            *slot = Some(log);
        }
    }

    fn step(&self, text: &str) {
        if let Ok(mut beat) = self.heartbeat.lock() {
            *beat = (Instant::now(), text.to_owned());
        }
        if self.volume != Volume::Quiet {
            self.clear();
            self.tell(&format!("openwatch: {text}"));
        }
    }

    fn note(&self, text: &str) {
        if self.volume != Volume::Quiet {
            self.tell(&format!("  {text}"));
        }
    }

    fn warn(&self, text: &str) {
        self.tell(&format!("openwatch: warning: {text}"));
    }

    fn alive(&self, what: &str, done: u64, total: Option<u64>) {
        if self.volume == Volume::Quiet {
            return;
        }
        let moved = self.moved.lock().ok();
        let still = moved.and_then(|mut moved| moved.look(what, done, Instant::now()));
        let still = still.unwrap_or_default();
        if let Some(bar) = &self.bar {
            bar.reset_elapsed();
            bar.set_length(total.unwrap_or(0));
            bar.set_position(done);
            bar.set_message(format!("{what}{still}"));
            return;
        }
        let Ok(mut beat) = self.heartbeat.lock() else { return };
        if beat.0.elapsed() >= HEARTBEAT {
            beat.0 = Instant::now();
            drop(beat);
            self.tell(&format!("  still {what}{}{still}", amount(done, total)));
        }
    }
}

/// Shows what a terminal would obey as question marks: names and messages may come from a server, or
/// from a restore point that was imported.
fn visible(text: &str) -> Cow<'_, str> {
    let obeyed = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    // Ten thousand lines are common, and so is that all of them are plain.
    let plain = |byte: u8| matches!(byte, b' '..=b'~' | b'\n' | b'\t');
    match !text.bytes().all(plain) && text.chars().any(obeyed) {
        false => Cow::Borrowed(text),
        true => Cow::Owned(text.chars().map(|c| if obeyed(c) { '?' } else { c }).collect()),
    }
}

fn amount(done: u64, total: Option<u64>) -> String {
    match (done, total) {
        (0, _) => String::new(),
        // Items are few, bytes are many.
        (done, Some(total)) if total < 100_000 => format!(", {done} of {total}"),
        (done, Some(total)) => format!(", {} of about {}", HumanBytes(done), HumanBytes(total)),
        (done, None) if done < 100_000 => format!(", {done}"),
        (done, None) => format!(", {}", HumanBytes(done)),
    }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("  {msg} {wide_bar} {bytes}/{total_bytes}") {
        bar.set_style(style);
    }
    bar
}

fn part(name: &str, text: &str) -> String {
    format!("  {:<8}{}\n", format!("{name}:"), text.replace('\n', "\n          "))
}

/// Returns standard output for what is no text, such as an exported restore point.
pub(super) fn stream() -> std::io::StdoutLock<'static> {
    std::io::stdout().lock()
}

/// Returns whether a person would see what is written to standard output.
pub(super) fn stdout_is_terminal() -> bool {
    std::io::IsTerminal::is_terminal(&std::io::stdout())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows 20 and 89.
    #[test]
    fn what_stands_still_for_minutes_is_said_and_what_moves_is_not() {
        let begun = Instant::now();
        let mut moved = Moved { what: String::new(), done: 0, since: begun };
        let after = |seconds| begun + Duration::from_secs(seconds);
        assert_eq!(moved.look("dumping main", 10, after(100)), None);
        assert_eq!(moved.look("dumping main", 10, after(219)), None);
        let told = Some(", no change for 5 min".to_owned());
        assert_eq!(moved.look("dumping main", 10, after(400)), told);
        assert_eq!(moved.look("dumping main", 11, after(401)), None);
        assert_eq!(moved.look("dumping more", 11, after(520)), None);
    }

    #[test]
    fn what_a_terminal_would_obey_is_shown_as_question_marks() {
        assert_eq!(visible("a\x1b[2Jb\u{9b}c\rd\n\te\u{e9}"), "a?[2Jb?c?d\n\te\u{e9}");
    }
}
