//! A program that ends with exit status 0.

use std::time::Duration;

use super::ask::Attempt;
use crate::system::process::{self, Call, Failure};

/// Kept free before the deadline, for ending a program that hangs.
const RESERVE: Duration = Duration::from_millis(200);

pub(super) fn ask(words: &[String], limit: Duration) -> Attempt {
    let Some((program, args)) = words.split_first() else {
        return Attempt::Hopeless("no program is named".into());
    };
    let Some(found) = process::find(program) else {
        return Attempt::Hopeless(format!("there is no program {program}"));
    };
    let time = limit.saturating_sub(RESERVE).max(limit / 2);
    let call = Call::new(found).args(args).deadline(time).grace(RESERVE / 2);
    match call.run() {
        Ok(output) if output.text().is_empty() => Attempt::right("exited with status 0"),
        Ok(output) => {
            Attempt::right(format!("exited with status 0: {}", last_line(&output.text())))
        }
        Err(failure @ Failure::NotStarted(_)) => Attempt::Hopeless(failure.to_string()),
        Err(failure) => match last_line(failure.stderr()) {
            "" => Attempt::Wrong(failure.to_string()),
            words => Attempt::Wrong(format!("{failure}: {words}")),
        },
    }
}

fn last_line(text: &str) -> &str {
    text.trim_end().lines().next_back().unwrap_or_default()
}
