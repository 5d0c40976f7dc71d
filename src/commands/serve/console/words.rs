//! Times, sizes and states as people read them.

use std::time::Duration;

use maud::{Markup, html};

use crate::system::clock::{self, Clock};

/// Shows an instant with its age; a text that is no time as it is.
pub(super) fn when(text: &str) -> Markup {
    let Some(at) = clock::parse_rfc3339(text) else { return html! { (text) } };
    let plain = clock::rfc3339(at);
    let shown = plain.trim_end_matches('Z').replace('T', " ");
    html! { time datetime=(plain) { (shown) " UTC" } span.age { " (" (age(text)) ")" } }
}

/// Says how long ago an instant was, in one unit.
pub(super) fn age(text: &str) -> String {
    let Some(at) = clock::parse_rfc3339(text) else { return String::new() };
    let now = Clock::System.now();
    match now.duration_since(at) {
        Ok(age) => format!("{} ago", roughly(age)),
        Err(error) if error.duration() < Duration::from_secs(60) => "just now".into(),
        Err(error) => format!("in {}", roughly(error.duration())),
    }
}

fn roughly(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (number, unit) = match seconds {
        0..=59 => return "less than a minute".into(),
        60..=3599 => (seconds / 60, "minute"),
        3600..=86_399 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    count(number, unit)
}

/// Says a number of things.
pub(super) fn count(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// Shows the outcome of a run; what is not good has another shape as well as another colour.
pub(super) fn outcome(word: &str) -> Markup {
    let (class, sign) = match word {
        "ok" => ("good", "✓"),
        "running" | "pending" | "unreachable" | "busy" => ("warn", "…"),
        _ => ("bad", "✕"),
    };
    html! { span.state.(class) { span aria-hidden="true" { (sign) } " " (word.replace('_', " ")) } }
}

/// Shows a command that can be copied.
pub(super) fn command(command: &str) -> Markup {
    html! { pre.command { code { (command) } } }
}

/// Takes the command out of a line such as ``Run `openwatch status`.``, where there is one.
pub(super) fn commands(line: &str) -> Vec<&str> {
    line.split('`').skip(1).step_by(2).filter(|command| !command.is_empty()).collect()
}

/// A table that may be wider than its place: it scrolls by itself, with keys as well.
pub(super) fn table(id: &str, caption: &str, head: &[&str], rows: &[Vec<Markup>]) -> Markup {
    html! {
        div.scroll role="region" aria-labelledby=(id) tabindex="0" {
            table {
                caption id=(id) { (caption) }
                thead { tr { @for name in head { th scope="col" { (name) } } } }
                tbody {
                    @for row in rows {
                        tr {
                            @for (at, cell) in row.iter().enumerate() {
                                @if at == 0 { th scope="row" { (cell) } } @else { td { (cell) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_from_elsewhere_is_text_wherever_it_stands() {
        let hostile = "\"><script>alert(1)</script>";
        for shown in [
            when(hostile),
            outcome(hostile),
            command(hostile),
            table("x", hostile, &[hostile], &[vec![html! { (hostile) }]]),
        ] {
            assert!(!shown.0.contains("<script"), "{}", shown.0);
        }
    }

    #[test]
    fn commands_are_taken_out_of_hints() {
        assert_eq!(
            commands("Mend it, then run `openwatch upgrade --retry`."),
            ["openwatch upgrade --retry"]
        );
        assert!(commands("it is finished by itself").is_empty());
    }

    #[test]
    fn ages_have_one_unit() {
        assert_eq!(roughly(Duration::from_secs(59)), "less than a minute");
        assert_eq!(roughly(Duration::from_secs(7200)), "2 hours");
        assert_eq!(roughly(Duration::from_secs(86_400)), "1 day");
    }
}
