//! `openwatch history`: past runs, newest first.

use serde_json::json;

use crate::error::Result;
use crate::layout::Layout;
use crate::upgrade::journal::{self, Record};

use super::Reply;

/// Reads the records of past runs.
pub fn run(layout: &Layout) -> Result<Reply> {
    let records = journal::history(layout)?;
    let lines: Vec<String> = records.iter().map(line).collect();
    let text = if lines.is_empty() { "no upgrade has run yet".into() } else { lines.join("\n") };
    Ok(Reply::ok(text, json!({"runs": records})))
}

fn line(record: &Record) -> String {
    let outcome = record.outcome.as_deref().unwrap_or("interrupted");
    let took = record.marks.last().map_or(0, |mark| mark.elapsed_ms);
    let point = record.restore_point.as_deref().unwrap_or("none");
    let overrode =
        record.overrode.as_ref().map_or(String::new(), |why| format!("  although {why}"));
    let doubts = record.comparison.as_ref().map_or(0, |compared| compared.doubts().count());
    let doubts = if doubts == 0 { String::new() } else { format!("  {doubts} in doubt") };
    let what = record.what_it_did();
    format!(
        "{}  {what}  {outcome}  {took} ms  restore point {point}{overrode}{doubts}",
        record.started
    )
}
