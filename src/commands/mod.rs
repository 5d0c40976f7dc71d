//! One file per verb that a user can type. Each returns a [`Reply`]; none prints.

mod ahead;
pub mod asked;
pub mod backup;
pub mod baseline;
pub mod candidate;
pub mod carrying;
pub mod correct;
pub mod disk;
pub mod drift;
mod following;
pub mod gate;
pub mod generate;
pub mod history;
pub mod hold;
pub mod init;
pub mod keeping;
pub mod lint;
pub mod migrate;
pub mod preflight;
pub mod prepare;
pub mod rehearse;
mod replaced;
pub mod restore;
mod restore_external;
pub mod rollback;
pub mod scriptlet;
pub mod serve;
pub mod status;
pub mod take_back;
pub mod upgrade;
pub mod verify;

use serde_json::{Value, json};

use crate::outcome::Outcome;
use crate::upgrade::machine::Machine;

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

/// Says which package file the answer is about, where it is not the installed package.
fn about(machine: &Machine, mut reply: Reply) -> Reply {
    let Some(looked_into) = &machine.looked_into else { return reply };
    let installed = match &looked_into.installed {
        Some(version) => format!("version {version} is"),
        None => "none is".into(),
    };
    reply.text = format!(
        "about {}, version {} of {}; {installed} installed\n{}",
        looked_into.shown,
        machine.version,
        machine.layout.app(),
        reply.text
    );
    reply.json["package_version"] = json!(machine.version);
    // As text: a path of other bytes than UTF-8 has no form in JSON.
    reply.json["package_file"] = json!(looked_into.shown);
    reply.json["installed_version"] = json!(looked_into.installed);
    if let Some(offered) = &looked_into.candidate {
        reply.json["candidate"] = json!({"version": offered.version, "held": offered.held});
    }
    reply
}
