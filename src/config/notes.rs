//! What was found wrong while reading: errors and warnings, each with file and line.

use std::path::Path;

use crate::error::{Error, Result};

/// The most further errors that one message lists.
const MOST_LISTED: usize = 12;

/// A place in a configuration file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    file: String,
    line: usize,
}

impl Place {
    pub(super) fn new(file: &Path, line: usize) -> Self {
        Self { file: one_line(&file.display().to_string()), line }
    }

    /// Returns the place as a clause of a hint.
    fn clause(&self) -> String {
        format!("In {}, line {}", self.file, self.line)
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// Errors and warnings of one reading. All errors are collected, so that a refusal names each key.
#[derive(Debug, Default)]
pub(super) struct Notes {
    problems: Vec<(Place, String, String)>,
    warnings: Vec<(Place, String)>,
    /// Where backups were switched off, unless a later file switched them on again.
    backups_off: Option<Place>,
}

impl Notes {
    /// Notes a value that cannot be used, and the text to write instead.
    pub(super) fn write_instead(&mut self, at: &Place, message: impl Into<String>, fix: &str) {
        let hint = format!("{}, write `{fix}`.", at.clause());
        self.problems.push((at.clone(), one_line(&message.into()), hint));
    }

    /// Notes something that cannot be used, and what to do about it at that line.
    pub(super) fn problem(&mut self, at: &Place, message: impl Into<String>, fix: &str) {
        let hint = format!("{}, {fix}.", at.clause());
        self.problems.push((at.clone(), one_line(&message.into()), hint));
    }

    /// Notes something that is ignored or was read in a safe way.
    pub(super) fn warn(&mut self, at: &Place, message: &str) {
        self.warnings.push((at.clone(), one_line(&format!("{at}: {message}"))));
    }

    /// Notes who switched backups off or on; the last one counts.
    pub(super) fn backups(&mut self, wanted: bool, at: &Place) {
        self.backups_off = (!wanted).then(|| at.clone());
    }

    /// Returns the warnings, or all errors as one: the first as the message, the others as details.
    pub(super) fn finish(mut self) -> Result<Vec<String>> {
        if let Some(at) = self.backups_off.take() {
            let message = format!("backups are switched off by {at}");
            self.warnings.push((at, message));
        }
        in_order(&mut self.problems, |(at, ..)| at);
        in_order(&mut self.warnings, |(at, _)| at);
        let Some((at, message, hint)) = self.problems.first() else {
            return Ok(self.warnings.into_iter().map(|(_, text)| text).collect());
        };
        let mut error =
            Error::config(format!("{at}: {message}")).state("nothing was changed").hint(hint);
        for (at, message, _) in self.problems.iter().skip(1).take(MOST_LISTED) {
            error = error.detail(format!("also {at}: {message}"));
        }
        let more = self.problems.len().saturating_sub(1 + MOST_LISTED);
        if more > 0 {
            error = error.detail(format!("and {more} more"));
        }
        Err(error)
    }
}

/// Sorts by line within each file, the files in the order in which they were read.
fn in_order<T>(notes: &mut [T], place: impl Fn(&T) -> &Place) {
    let mut files: Vec<String> = Vec::new();
    for note in notes.iter() {
        if !files.contains(&place(note).file) {
            files.push(place(note).file.clone());
        }
    }
    notes.sort_by_key(|note| {
        let at = place(note);
        (files.iter().position(|file| *file == at.file), at.line)
    });
}

/// Keeps a message on one line and free of control characters, whatever the file contained.
pub(super) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Shows a value of a file in a message: quoted, and cut where it is long.
pub(super) fn shown(text: &str) -> String {
    const MOST: usize = 60;
    if text.chars().count() > MOST {
        return format!("\"{}…\"", text.chars().take(MOST).collect::<String>());
    }
    format!("\"{text}\"")
}
