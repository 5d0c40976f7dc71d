//! What `openwatch upgrade --plan` says about the steps that lie ahead.

use serde_json::{Value, json};

use crate::outcome::Outcome;
use crate::upgrade::ahead::{Ahead, Stage};
use crate::upgrade::step::Step;

/// Adds the steps and the boundary to a plan for `--json`.
pub(super) fn add(json: &mut Value, ahead: &Ahead) {
    json["order"] = ahead.stages.iter().map(stage).collect();
    let boundary = &ahead.boundary;
    let word = |step: Option<Step>| step.map(Step::word);
    json["boundary"] = json!({
        "free_through": word(boundary.free_through),
        "restore_from": word(boundary.restore_from),
        "loses_writes_from": word(boundary.loses_writes_from),
        "none_from": word(boundary.none_from),
        "said": boundary.told(),
    });
}

fn stage(stage: &Stage) -> Value {
    json!({
        "step": stage.step.word(),
        "moves": stage.moves,
        "fails_when": stage.fails_when,
        "outcome_if_failed": stage.ends_as.map(Outcome::word),
        "exit_if_failed": stage.ends_as.map(Outcome::exit_code),
        "leaves_if_failed": stage.leaves,
        "back_if_failed": stage.back_if_failed.word(),
        "back_when_done": stage.back_when_done.word(),
    })
}

/// Returns the steps and the boundary for people.
pub(super) fn told(ahead: &Ahead) -> Vec<String> {
    let mut lines = Vec::new();
    for (place, stage) in ahead.stages.iter().enumerate() {
        let moves = match stage.moves.as_slice() {
            [] => String::new(),
            moves => format!(": {}", moves.join(", ")),
        };
        lines.push(format!("  {}. {}{moves}", place + 1, stage.spoken()));
        let exit = stage
            .ends_as
            .map_or(String::new(), |outcome| format!(" (exit {}, {outcome})", outcome.exit_code()));
        lines.push(format!("       failed when {}{exit}", stage.fails_when.join("; or ")));
        lines.push(format!(
            "       then {}; going back: {}",
            stage.leaves,
            stage.back_if_failed.spoken()
        ));
    }
    lines.push(format!("  going back: {}", ahead.boundary.told()));
    lines
}
