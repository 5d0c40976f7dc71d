//! What the answer of a status command means.
//!
//! "Nothing is pending" is never concluded from silence: it takes exit status 0 and, where the
//! packager named the lines of applied migrations, at least one of them. An exit status that was not
//! announced is no answer at all.

use crate::config::StatusRule;

/// What a status command answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Names of pending migrations; one that is empty stands for those that were not named.
    pub(super) pending: Vec<String>,
    /// How many applied migrations were named.
    pub(super) applied: usize,
    /// The name of the last migration of all that were named.
    pub(super) head: Option<String>,
}

/// Reads an answer: the exit status, none where the program was killed, and what it printed.
///
/// An error says in words why it is none.
pub(super) fn read(
    rule: &StatusRule,
    code: Option<i32>,
    lines: &[String],
) -> Result<Verdict, String> {
    let named = |prefix: &Option<String>| -> Vec<String> {
        let Some(prefix) = prefix else { return Vec::new() };
        lines.iter().filter_map(|line| name_after(line, prefix)).collect()
    };
    let pending = named(&rule.pending_lines);
    let applied = named(&rule.applied_lines);
    let head = lines
        .iter()
        .rev()
        .find_map(|line| {
            [&rule.pending_lines, &rule.applied_lines]
                .into_iter()
                .flatten()
                .find_map(|prefix| name_after(line, prefix))
        })
        .filter(|name| !name.is_empty());
    let says_pending = code.is_some() && code == rule.pending_exit;
    let verdict = |pending| Ok(Verdict { pending, applied: applied.len(), head });
    match (code, says_pending, &rule.pending_lines) {
        (_, true, None) => verdict(vec![String::new()]),
        (_, true, Some(_)) if !pending.is_empty() => verdict(pending),
        // A tool that ends all its errors with one status is told apart by what it prints.
        (_, true, Some(prefix)) => Err(format!(
            "exited with status {}, which means pending, but printed no line that begins with \
             \"{prefix}\"",
            code.unwrap_or_default()
        )),
        (Some(0), false, _) if !pending.is_empty() => verdict(pending),
        (Some(0), false, _) => match &rule.applied_lines {
            Some(prefix) if applied.is_empty() => Err(format!(
                "exited with status 0, but printed no line that begins with \"{prefix}\""
            )),
            Some(_) | None => verdict(Vec::new()),
        },
        (Some(code), false, _) => Err(format!("exited with status {code}")),
        (None, _, _) => Err("was killed".into()),
    }
}

/// Returns what stands behind the prefix on a line of its own, the first word of it.
fn name_after(line: &str, prefix: &str) -> Option<String> {
    let rest = line.trim_start().strip_prefix(prefix)?;
    Some(rest.split_whitespace().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    fn pending(rule: &StatusRule, code: i32, text: &str) -> Option<Vec<String>> {
        read(rule, Some(code), &lines(text)).ok().map(|verdict| verdict.pending)
    }

    fn rule(exit: Option<i32>, pending: Option<&str>, applied: Option<&str>) -> StatusRule {
        StatusRule {
            pending_exit: exit,
            pending_lines: pending.map(str::to_owned),
            applied_lines: applied.map(str::to_owned),
        }
    }

    #[test]
    fn an_exit_status_alone_tells_pending_from_nothing() {
        let rule = rule(Some(1), None, None);
        assert_eq!(pending(&rule, 0, "anything"), Some(vec![]));
        assert_eq!(pending(&rule, 1, "anything"), Some(vec![String::new()]));
        assert_eq!(pending(&rule, 2, ""), None);
        assert_eq!(read(&rule, None, &[]), Err("was killed".into()));
    }

    /// `manage.py showmigrations --plan`: exit status 0 whatever is pending, 1 for every error.
    #[test]
    fn the_plan_of_django_is_understood() {
        let rule = rule(None, Some("[ ]"), Some("[X]"));
        let found = read(&rule, Some(0), &lines("[X]  app.0001_initial\n[ ]  app.0002_more"));
        let verdict = found.unwrap();
        assert_eq!(verdict.pending, ["app.0002_more"]);
        assert_eq!((verdict.applied, verdict.head.as_deref()), (1, Some("app.0002_more")));
        assert_eq!(pending(&rule, 0, "[X]  app.0001_initial"), Some(vec![]));
        assert_eq!(pending(&rule, 1, "Traceback"), None);
        // A version that prints its list in another way must not pass for "nothing".
        assert_eq!(pending(&rule, 0, "* app.0001_initial"), None);
        assert_eq!(pending(&rule, 0, ""), None);
    }

    /// `alembic current --check-heads`: 255 for pending and for every other error.
    #[test]
    fn an_error_of_alembic_is_not_taken_for_pending() {
        let text = "FAILED: Database is not on all head revisions";
        let rule = rule(Some(255), Some(text), None);
        assert_eq!(pending(&rule, 255, text), Some(vec![String::new()]));
        assert_eq!(pending(&rule, 255, "FAILED: Can't locate revision identified by 'x'"), None);
        assert_eq!(pending(&rule, 0, "2f1a (head)"), Some(vec![]));
        assert_eq!(pending(&rule, 1, "Traceback"), None);
    }

    /// `rails db:migrate:status`: a table of `up` and `down`.
    #[test]
    fn the_table_of_rails_is_understood() {
        let rule = rule(None, Some("down "), Some("up "));
        let table =
            " Status   Migration ID\n------\n   up     20240101  A\n  down    20250101  B\n";
        assert_eq!(pending(&rule, 0, table), Some(vec!["20250101".to_owned()]));
    }
}
