//! What receivers read; the keys are a contract.

use serde_json::{Value, json};

use super::Event;

/// Returns the body of a report; `id` is the same however often it is sent.
pub(super) fn of(event: &Event, id: &str) -> Value {
    json!({
        "id": id,
        "event": format!("{}.{}", event.work.word(), event.kind().word()),
        "outcome": event.outcome.word(),
        "app": event.app,
        "host": event.host,
        "from": event.from,
        "to": event.to,
        "restore_point": event.restore_point,
        "step": event.step,
        "started": event.started,
        "finished": event.finished,
        "message": event.line(),
        "next": event.next,
    })
}
