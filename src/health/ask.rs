//! Asking one probe: attempts, back-off, and the rule that a right answer must hold.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::answer::{self, Answer};
use super::{Context, Looked, Report, command, http, sql, tcp, unit, websocket};
use crate::config::{ProbeSpec, Question};
use crate::progress::Progress;
use crate::system::clock::{self, Deadline};
use crate::system::signals;

/// The result of asking once.
pub(super) enum Attempt {
    /// The right answer, and which process gave it where that is known.
    Right { said: String, identity: Option<(u32, u32)> },
    /// Not the right answer, yet.
    Wrong(String),
    /// Down, and nothing of ours brings it up; believed after a few looks in a row.
    Down(String),
    /// No later attempt can give another answer.
    Hopeless(String),
}

impl Attempt {
    pub(super) fn right(said: impl Into<String>) -> Self {
        Self::Right { said: said.into(), identity: None }
    }
}

/// Asks until the right answer has come as often in a row as it must, or the deadline passes.
pub(super) fn until_right(probe: &ProbeSpec, context: &Context<'_>) -> Answer {
    let begin = Instant::now();
    let deadline = Deadline::after(probe.deadline);
    let needed = needed(probe, context.pace.looks);
    // A deadline shorter than the settling time must still leave room to settle.
    let apart = context.pace.apart.min(probe.deadline / (context.pace.looks + 1));
    let mut answer = empty(probe);
    answer.last = format!("no answer within {}", clock::spoken(probe.deadline));
    let (mut rights, mut downs) = (0, 0);
    let mut pause = context.pace.first_pause;
    // The last tenth is too short for an honest attempt: it would hide the answer before it.
    let enough = |answer: &Answer| {
        let least = if answer.attempts == 0 { Duration::ZERO } else { probe.deadline / 10 };
        deadline.remaining() > least
    };
    while enough(&answer) && !answer.passed && signals::received().is_none() {
        answer.attempts += 1;
        let wait = match caught(|| attempt(probe, context, deadline.remaining())) {
            Attempt::Right { said, identity } => {
                rights = if identity == answer.identity { rights + 1 } else { 1 };
                downs = 0;
                answer.identity = identity;
                answer.passed = rights >= needed;
                answer.last = held(said, rights, needed);
                apart
            }
            Attempt::Wrong(said) => {
                (rights, downs) = (0, 0);
                answer.last = answer::short(&said);
                grown(&mut pause, context.pace.longest_pause)
            }
            Attempt::Down(said) => {
                (rights, downs) = (0, downs + 1);
                answer.last = answer::short(&said);
                if downs >= needed {
                    break;
                }
                apart
            }
            Attempt::Hopeless(said) => {
                answer.last = answer::short(&said);
                break;
            }
        };
        if !answer.passed {
            clock::pause(wait.min(deadline.remaining()));
        }
    }
    answer.took_ms = clock::millis(begin.elapsed());
    answer
}

/// Asks once.
pub(super) fn once(probe: &ProbeSpec, context: &Context<'_>, limit: Duration) -> Answer {
    answered(probe, || attempt(probe, context, limit))
}

/// Asks once, and keeps of an HTTP answer what a later one is compared with.
pub(super) fn look(probe: &ProbeSpec, context: &Context<'_>, limit: Duration) -> Looked {
    let mut seen = None;
    let answer = answered(probe, || match &probe.question {
        Question::Http { url, status, body, expect_version: _, token } => {
            let wanted = http::Wanted {
                status: *status,
                body: body.as_deref(),
                version: None,
                started: context.started,
                token: token.as_ref(),
                secrets: &context.secrets,
            };
            let (attempt, found) = http::look(url, &wanted, &probe.compare, patience(limit));
            seen = found;
            attempt
        }
        Question::Unit(_)
        | Question::Tcp(_)
        | Question::WebSocket { .. }
        | Question::Sql { .. }
        | Question::Command(_) => attempt(probe, context, limit),
    });
    Looked { answer, seen }
}

fn answered(probe: &ProbeSpec, asked: impl FnOnce() -> Attempt) -> Answer {
    let begin = Instant::now();
    let mut answer = Answer { attempts: 1, ..empty(probe) };
    match caught(asked) {
        Attempt::Right { said, identity } => {
            answer.passed = true;
            answer.identity = identity;
            answer.last = answer::short(&said);
        }
        Attempt::Wrong(said) | Attempt::Down(said) | Attempt::Hopeless(said) => {
            answer.last = answer::short(&said);
        }
    }
    answer.took_ms = clock::millis(begin.elapsed());
    answer
}

/// Asks; a defect of ours that an answer brings out is no proof of health, and not the end of the run.
fn caught(asked: impl FnOnce() -> Attempt) -> Attempt {
    catch_unwind(AssertUnwindSafe(asked))
        .unwrap_or_else(|_| Attempt::Hopeless("asking it failed by a defect of openwatch".into()))
}

/// Looks at settled units once more: one that died while slower probes were asked is not healthy.
pub(super) fn confirm(
    probes: &[ProbeSpec],
    report: &mut Report,
    context: &Context<'_>,
    progress: &dyn Progress,
) {
    for (probe, answer) in probes.iter().zip(&mut report.answers) {
        let Question::Unit(_) = &probe.question else { continue };
        if !answer.passed {
            continue;
        }
        let again = once(probe, context, probe.deadline.min(Duration::from_secs(10)));
        if !again.passed || again.identity != answer.identity {
            answer.passed = false;
            answer.last = format!("did not stay up: {}", again.last);
            progress.warn(&answer.to_string());
        }
    }
}

fn attempt(probe: &ProbeSpec, context: &Context<'_>, limit: Duration) -> Attempt {
    match &probe.question {
        Question::Unit(name) => unit::ask(name, context.units, limit),
        Question::Tcp(address) => tcp::ask(address, patience(limit)),
        Question::Http { url, status, body, expect_version, token } => {
            let version = context.expected_version.as_deref().filter(|_| *expect_version);
            let wanted = http::Wanted {
                status: *status,
                body: body.as_deref(),
                version,
                started: context.started,
                token: token.as_ref(),
                secrets: &context.secrets,
            };
            http::ask(url, &wanted, patience(limit))
        }
        Question::WebSocket { url, token } => {
            let token = token.as_ref().map(|token| (token, context.secrets.as_path()));
            websocket::ask(url, token, patience(limit))
        }
        Question::Sql { database, statement } => {
            sql::ask(database, statement, &context.connect, limit)
        }
        Question::Command(words) => command::ask(words, limit),
    }
}

/// One attempt over the network takes part of what is left, so that a connection swallowed by a
/// process on its way out does not use up the deadline of the one that follows.
fn patience(remaining: Duration) -> Duration {
    (remaining * 2 / 3).max(Duration::from_secs(1)).min(remaining)
}

/// Asking a statement or a program again proves nothing that the first answer did not.
fn needed(probe: &ProbeSpec, looks: u32) -> u32 {
    match probe.question {
        Question::Unit(_)
        | Question::Tcp(_)
        | Question::Http { .. }
        | Question::WebSocket { .. } => looks.max(1),
        Question::Sql { .. } | Question::Command(_) => 1,
    }
}

fn held(said: String, rights: u32, needed: u32) -> String {
    if rights >= needed {
        answer::short(&said)
    } else {
        answer::short(&format!("not for long enough: {said}"))
    }
}

fn grown(pause: &mut Duration, longest: Duration) -> Duration {
    let now = *pause;
    *pause = (now * 2).min(longest);
    now
}

fn empty(probe: &ProbeSpec) -> Answer {
    Answer {
        probe: answer::name(probe),
        required: probe.required,
        passed: false,
        took_ms: 0,
        attempts: 0,
        last: String::new(),
        identity: None,
    }
}
