//! What a stream says about its restore point, before it is believed and kept here.

use std::time::SystemTime;

use serde_json::Value;

use super::members::refused;
use crate::error::{Context, Result};
use crate::system::clock;

/// Returns the manifest as it is kept here: with a note that it came from elsewhere, and without the
/// names of clones, which would be those of databases on this server. What this program does not know
/// stays.
pub(super) fn received(text: &[u8], now: SystemTime) -> Result<Vec<u8>> {
    let attempt = || "cannot write the manifest".to_owned();
    let mut text: Value = serde_json::from_slice(text).context(attempt)?;
    if let Some(text) = strange_text(&text) {
        return Err(refused(&format!("it says {text:?}")));
    }
    text["imported"] = clock::rfc3339(now).into();
    for archive in text["databases"].as_array_mut().into_iter().flatten() {
        archive.as_object_mut().map(|archive| archive.remove("clone"));
    }
    let mut bytes = serde_json::to_vec_pretty(&text).context(attempt)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Returns a text that would not stay where it is shown: escapes of a terminal, or lines of its own.
fn strange_text(value: &Value) -> Option<&str> {
    match value {
        Value::String(text) => text.chars().any(char::is_control).then_some(text),
        Value::Array(values) => values.iter().find_map(strange_text),
        // What a server answered to a trial has lines.
        Value::Object(fields) => fields
            .iter()
            .filter(|(key, _)| *key != "trial")
            .find_map(|(_, value)| strange_text(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

/// Returns whether a name of an application can be part of a command that is printed.
pub fn is_plain_word(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.+".contains(c);
    !name.is_empty() && !name.starts_with('-') && name.chars().all(plain)
}
