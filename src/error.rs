//! What could not be done, why, what is true now, and what to do next.
//!
//! A message has at most four parts: the first line stands alone (package tools show only the last
//! lines), `detail` holds observed facts, `state` what is true of the machine now, `hint` one exact
//! command. A `Display` never repeats its source; the printer walks the chain once.

use std::error::Error as StdError;
use std::fmt;

use crate::outcome::Outcome;

/// The result of everything that can fail towards a person.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure as a person reads it.
pub struct Error(Box<Parts>);

struct Parts {
    outcome: Outcome,
    message: String,
    detail: Vec<String>,
    state: Option<String>,
    hint: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// Makes a failure from what could not be done and why: lower case, one line, no full stop.
    pub fn new(outcome: Outcome, message: impl Into<String>) -> Self {
        Self(Box::new(Parts {
            outcome,
            message: message.into(),
            detail: Vec::new(),
            state: None,
            hint: None,
            source: None,
        }))
    }

    /// Makes a failure that nobody planned for (exit status 1).
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Outcome::Failed, message)
    }

    /// Makes a failure of configuration or credentials (exit status 3).
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(Outcome::Config, message)
    }

    /// Adds an observed fact: tool output, numbers, SQLSTATE.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.0.detail.push(detail.into());
        self
    }

    /// Says what is true of the machine now: data, units, restore point, in that order.
    #[must_use]
    pub fn state(mut self, state: impl Into<String>) -> Self {
        self.0.state = Some(state.into());
        self
    }

    /// Gives the one next action, as a sentence with the exact command.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Adds a hint unless a more precise one is there already.
    #[must_use]
    pub fn or_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint.get_or_insert_with(|| hint.into());
        self
    }

    /// Keeps the technical cause; the printer shows it behind the message.
    #[must_use]
    pub fn source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Changes how the run ends because of this failure.
    #[must_use]
    pub fn outcome_as(mut self, outcome: Outcome) -> Self {
        self.0.outcome = outcome;
        self
    }

    /// Replaces a text wherever a person reads it, such as a path that is gone by then.
    #[must_use]
    pub fn instead_of(mut self, gone: &str, told: &str) -> Self {
        let parts = &mut *self.0;
        let texts = parts.detail.iter_mut().chain([&mut parts.message]);
        for text in texts.chain(&mut parts.state).chain(&mut parts.hint) {
            *text = text.replace(gone, told);
        }
        self
    }

    /// Returns how the run ends because of this failure.
    pub fn outcome(&self) -> Outcome {
        self.0.outcome
    }

    /// Returns the first line with its causes, without the program's name.
    pub fn message(&self) -> String {
        let mut line = self.0.message.clone();
        let mut cause = self.0.source.as_deref().map(|s| s as &dyn StdError);
        while let Some(error) = cause {
            let text = error.to_string();
            if !line.ends_with(&text) {
                line.push_str(": ");
                line.push_str(&text);
            }
            cause = error.source();
        }
        // One line: a multi-line cause (server messages) must not break the four-line form.
        line.replace('\n', " ")
    }

    /// Returns the observed facts.
    pub fn details(&self) -> &[String] {
        &self.0.detail
    }

    /// Returns what is true of the machine now, where it is known.
    pub fn state_line(&self) -> Option<&str> {
        self.0.state.as_deref()
    }

    /// Returns the one next action, where there is one.
    pub fn hint_line(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("outcome", &self.0.outcome)
            .field("message", &self.message())
            .field("detail", &self.0.detail)
            .field("state", &self.0.state)
            .field("hint", &self.0.hint)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|s| s as &(dyn StdError + 'static))
    }
}

/// Turns a technical error into one that says what was attempted.
pub trait Context<T> {
    /// Says what could not be done; the technical error stays behind it as the reason.
    fn context(self, message: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<Box<dyn StdError + Send + Sync>>> Context<T> for std::result::Result<T, E> {
    fn context(self, message: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Error::failed(message()).source(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_carries_its_causes_once() {
        let io = std::io::Error::other("No space left on device");
        let error = Error::failed("cannot write the journal").source(io);
        assert_eq!(error.message(), "cannot write the journal: No space left on device");
    }

    #[test]
    fn a_more_precise_hint_is_not_replaced() {
        let error = Error::failed("x").hint("Run `a`.").or_hint("Run `b`.");
        assert_eq!(error.hint_line(), Some("Run `a`."));
    }
}
