//! One file per verb that a user can type. Each returns a [`Reply`]; none prints.

pub mod backup;
pub mod gate;
pub mod history;
pub mod migrate;
pub mod preflight;
pub mod restore;
pub mod scriptlet;
pub mod serve;
pub mod status;
pub mod upgrade;

use serde_json::{Value, json};

use crate::outcome::Outcome;

/// What a verb answers: how it ended, for people, and for programs.
#[derive(Debug)]
pub struct Reply {
    /// How it ended.
    pub outcome: Outcome,
    /// Lines for standard output; empty where there is nothing to say.
    pub text: String,
    /// The object of `--json`; `outcome` and `app` are added where they are missing.
    pub json: Value,
}

impl Reply {
    /// Returns a good answer.
    pub fn ok(text: impl Into<String>, json: Value) -> Self {
        Self { outcome: Outcome::Ok, text: text.into(), json }
    }

    /// Returns an answer without words.
    pub fn silent(outcome: Outcome) -> Self {
        Self { outcome, text: String::new(), json: json!({}) }
    }
}
