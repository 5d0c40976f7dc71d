//! Durations of past runs as a drawing. The table beside it says the same.

use maud::{Markup, html};

use crate::system::clock::spoken;
use crate::upgrade::journal::Record;

/// The most runs that are drawn.
const MOST: usize = 30;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 80.0;
const TOP: f64 = 12.0;
const BASE: f64 = 190.0;

/// Draws the newest runs, oldest first; `records` are newest first.
pub(super) fn durations(records: &[Record]) -> Markup {
    let shown: Vec<&Record> = records.iter().take(MOST).rev().collect();
    let longest = shown.iter().map(|record| record.took().as_secs_f64()).fold(0.0, f64::max);
    let top = round_up(longest);
    let slot = (WIDTH - LEFT) / shown.len().max(1) as f64;
    let wide = (slot * 0.6).min(36.0);
    let high = |seconds: f64| (BASE - TOP) * (seconds / top).clamp(0.0, 1.0);
    html! {
        svg.plot role="img" aria-labelledby="plot-title plot-desc" viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } {
            title id="plot-title" { "How long upgrades took" }
            desc id="plot-desc" { (told(&shown)) }
            @for part in 0..=4_u8 {
                @let share = f64::from(part) / 4.0;
                @let y = BASE - (BASE - TOP) * share;
                line.grid x1=(LEFT) x2=(WIDTH) y1=(place(y)) y2=(place(y)) {}
                text.axis x=(LEFT - 8.0) y=(place(y + 4.0)) text-anchor="end" { (label(top * share)) }
            }
            @for (at, record) in shown.iter().enumerate() {
                @let x = LEFT + slot * (at as f64 + 0.5) - wide / 2.0;
                @let whole = high(record.took().as_secs_f64()).max(2.0);
                @let down = record.downtime().map_or(0.0, |down| high(down.as_secs_f64()).min(whole));
                @let good = record.outcome.as_deref() == Some("ok");
                g {
                    title { (one(record)) }
                    rect.bar.(if good { "good" } else { "bad" })
                        x=(place(x)) y=(place(BASE - whole)) width=(place(wide)) height=(place(whole)) {}
                    @if down > 0.0 {
                        rect.bar.down x=(place(x)) y=(place(BASE - down)) width=(place(wide)) height=(place(down)) {}
                    }
                    @if !good {
                        text.axis x=(place(x + wide / 2.0)) y=(place((BASE - whole - 4.0).max(10.0))) text-anchor="middle" { "✕" }
                    }
                }
            }
            line.base x1=(LEFT) x2=(WIDTH) y1=(BASE) y2=(BASE) {}
            @if let (Some(first), Some(last)) = (shown.first(), shown.last()) {
                text.axis x=(LEFT) y=(HEIGHT - 10.0) { (day(first)) }
                @if shown.len() > 1 {
                    text.axis x=(WIDTH) y=(HEIGHT - 10.0) text-anchor="end" { (day(last)) }
                }
            }
        }
        p.legend {
            span.key.good {} " the run" span.key.down {} " of it, services down" span.key.bad {} " ✕ did not end well"
        }
    }
}

fn day(record: &Record) -> &str {
    record.started.get(..10).unwrap_or(&record.started)
}

fn one(record: &Record) -> String {
    let word = record.outcome.as_deref().unwrap_or("interrupted").replace('_', " ");
    format!("{}: to {}, {word}, {}", record.started, record.to, spoken(record.took()))
}

fn told(shown: &[&Record]) -> String {
    let good: Vec<_> = shown.iter().filter(|r| r.outcome.as_deref() == Some("ok")).collect();
    let mut times: Vec<_> = good.iter().map(|record| record.took()).collect();
    times.sort();
    match (times.first(), times.get(times.len() / 2), times.last()) {
        (Some(least), Some(middle), Some(most)) => format!(
            "{} of {} upgrades ended well, the shortest in {}, the middle one in {}, the longest in {}. \
             The table below has every number.",
            good.len(),
            shown.len(),
            spoken(*least),
            spoken(*middle),
            spoken(*most)
        ),
        _ => format!(
            "None of {} upgrades ended well. The table below has every number.",
            shown.len()
        ),
    }
}

/// Returns the end of a scale that has room for this many seconds and four even parts.
fn round_up(seconds: f64) -> f64 {
    const ENDS: [f64; 16] = [
        1.0, 2.0, 4.0, 8.0, 20.0, 40.0, 60.0, 120.0, 240.0, 480.0, 1200.0, 2400.0, 3600.0, 7200.0,
        14_400.0, 28_800.0,
    ];
    let found = ENDS.into_iter().find(|end| *end >= seconds);
    found.unwrap_or_else(|| (seconds / 14_400.0).ceil() * 14_400.0)
}

/// A number on the scale, without parts that say nothing.
fn label(seconds: f64) -> String {
    match seconds {
        s if s >= 3600.0 => format!("{} h", trimmed(s / 3600.0)),
        s if s >= 60.0 => format!("{} min", trimmed(s / 60.0)),
        s => format!("{} s", trimmed(s)),
    }
}

fn trimmed(number: f64) -> String {
    format!("{number:.2}").trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn place(number: f64) -> String {
    trimmed(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_has_round_ends_and_labels() {
        assert_eq!((round_up(0.0), round_up(3.1), round_up(90_000.0)), (1.0, 4.0, 100_800.0));
        assert_eq!([label(0.25), label(90.0), label(7200.0)], ["0.25 s", "1.5 min", "2 h"]);
        assert_eq!([trimmed(10.0), trimmed(0.0), trimmed(100.5)], ["10", "0", "100.5"]);
    }

    #[test]
    fn no_run_is_no_drawing_of_nonsense() {
        assert!(!durations(&[]).0.contains("NaN"));
    }
}
