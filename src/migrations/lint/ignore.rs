//! Comments by which a packager says that a finding is meant.
//!
//! `-- openwatch: lint-ignore RULE[, RULE] REASON` belongs to the statement that follows, that it
//! stands in, or whose line it ends; `lint-ignore-file` to the whole file. Comments for squawk count
//! for the rules that squawk knows by other names.

use std::cell::Cell;
use std::ops::Range;

use squawk_syntax::{SyntaxKind, SyntaxNode};

use super::rule::Rule;

/// The comments of one file.
pub(super) struct Ignores {
    all: Vec<Ignore>,
    /// Place, rule and text of comments that are wrong themselves.
    pub(super) wrong: Vec<(usize, Rule, String)>,
}

struct Ignore {
    at: usize,
    rules: Vec<Rule>,
    /// The statement that it belongs to; none for the whole file.
    statement: Option<Range<usize>>,
    ours: bool,
    used: Cell<bool>,
}

impl Ignores {
    /// Reads the comments of a file; `statements` are its byte ranges in order.
    pub(super) fn read(file: &SyntaxNode, text: &str, statements: &[Range<usize>]) -> Self {
        let mut found = Self { all: Vec::new(), wrong: Vec::new() };
        let tokens = file.descendants_with_tokens().filter_map(|element| element.into_token());
        for token in tokens.filter(|token| token.kind() == SyntaxKind::COMMENT) {
            let at = usize::from(token.text_range().start());
            let body = body(token.text());
            if let Some(rest) = body.strip_prefix("openwatch:").map(str::trim_start) {
                found.own(at, rest, belongs_to(at, text, statements));
            } else if let Some(rest) = body.strip_prefix("squawk-ignore") {
                found.of_squawk(at, rest, belongs_to(at, text, statements));
            }
        }
        found
    }

    /// Says whether a comment hides the finding of a rule in a statement.
    pub(super) fn hide(&self, rule: Rule, statement: &Range<usize>) -> bool {
        let mut hidden = false;
        for ignore in &self.all {
            let meant = ignore.statement.as_ref().is_none_or(|own| own == statement);
            if meant && ignore.rules.contains(&rule) {
                ignore.used.set(true);
                hidden = true;
            }
        }
        hidden
    }

    /// Returns the places of comments of ours that hid nothing.
    pub(super) fn unused(&self) -> impl Iterator<Item = (usize, String)> {
        self.all.iter().filter(|ignore| ignore.ours && !ignore.used.get()).map(|ignore| {
            let names: Vec<&str> = ignore.rules.iter().map(|rule| rule.about().id).collect();
            (ignore.at, format!("nothing here is {}", names.join(" or ")))
        })
    }

    fn own(&mut self, at: usize, rest: &str, next: Option<Range<usize>>) {
        let (whole_file, rest) = match rest.strip_prefix("lint-ignore-file") {
            Some(rest) => (true, rest),
            None => match rest.strip_prefix("lint-ignore") {
                Some(rest) => (false, rest),
                None => return,
            },
        };
        let mut words = rest.split_whitespace().peekable();
        let mut rules = Vec::new();
        for word in words.by_ref() {
            let id = word.trim_end_matches(',');
            match Rule::from_id(id) {
                Some(rule) => rules.push(rule),
                None => {
                    let what = format!("there is no rule {id}");
                    self.wrong.push((at, Rule::UnknownRule, what));
                }
            }
            if !word.ends_with(',') {
                break;
            }
        }
        if rules.is_empty() {
            if rest.trim().is_empty() {
                self.wrong.push((at, Rule::UnknownRule, "no rule is named".into()));
            }
        } else if words.peek().is_none() {
            let what = format!("no reason for {}", rules[0].about().id);
            self.wrong.push((at, Rule::IgnoreWithoutReason, what));
        } else {
            let statement = if whole_file { None } else { Some(next.unwrap_or(at..at)) };
            self.all.push(Ignore { at, rules, statement, ours: true, used: Cell::new(false) });
        }
    }

    fn of_squawk(&mut self, at: usize, rest: &str, next: Option<Range<usize>>) {
        let (whole_file, rest) = match rest.strip_prefix("-file") {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let names: Vec<&str> =
            rest.split("--").next().unwrap_or(rest).split(',').map(str::trim).collect();
        let every = whole_file && names.iter().all(|name| name.is_empty());
        let rules: Vec<Rule> = Rule::ALL
            .iter()
            .copied()
            .filter(|rule| {
                let known = rule.about().squawk;
                known.iter().any(|name| every || names.contains(name))
            })
            .collect();
        let statement = if whole_file { None } else { Some(next.unwrap_or(at..at)) };
        self.all.push(Ignore { at, rules, statement, ours: false, used: Cell::new(false) });
    }
}

fn body(comment: &str) -> &str {
    let inside = comment
        .strip_prefix("--")
        .or_else(|| comment.strip_prefix("/*").map(|rest| rest.strip_suffix("*/").unwrap_or(rest)));
    inside.unwrap_or(comment).trim()
}

/// Returns the statement that a comment stands in, whose line it ends, or that follows it.
fn belongs_to(at: usize, text: &str, statements: &[Range<usize>]) -> Option<Range<usize>> {
    let around = statements.iter().find(|range| range.contains(&at));
    let before = statements.iter().rev().find(|range| range.end <= at);
    let same_line =
        before.filter(|range| text.get(range.end..at).is_some_and(|t| !t.contains('\n')));
    let after = statements.iter().find(|range| range.start > at);
    around.or(same_line).or(after).cloned()
}
