//! Scripts for a database that is a file: divided as SQLite divides them.

use super::{Script, chained, transaction_control};
use crate::sqlite::statements;

/// Looks at a file of statements of SQLite; within a transaction of ours it may have none of its own.
pub(in crate::migrations) fn script_of_file(text: &str, transactional: bool) -> Script {
    let mut script = Script { statements: statements(text), ..Script::default() };
    let mut block = None;
    for (index, range) in script.statements.iter().enumerate() {
        let statement = &text[range.clone()];
        let words = first_words(statement);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut obstacle = |what: String| {
            script.obstacle.get_or_insert((range.start, what));
        };
        if statement.starts_with('.') {
            obstacle("a command of the sqlite3 shell".to_owned());
        }
        match (transaction_control(&words), block) {
            (None, None) => script.units.push(index..index + 1),
            (None, Some(_)) => {}
            (Some("BEGIN"), None) if !transactional => block = Some(index),
            (Some("COMMIT" | "END"), Some(begun)) if !chained(&words) => {
                script.units.push(begun..index + 1);
                block = None;
            }
            (Some(what), _) => {
                block = None;
                obstacle(format!("transaction control ({what})"));
            }
        }
    }
    if let Some(begun) = block {
        let at = script.statements[begun].start;
        script.obstacle.get_or_insert((at, "transaction control (BEGIN without COMMIT)".into()));
    }
    script
}

/// Returns the text with the two ends of a transaction around everything as spaces, where it has
/// them; places stay what they are.
pub(in crate::migrations) fn without_wrapper_of_file(mut text: String) -> String {
    let all = statements(&text);
    let [first, .., last] = all.as_slice() else { return text };
    let is = |range: &std::ops::Range<usize>, words: &[&str]| {
        let found = text[range.clone()].split_whitespace().collect::<Vec<_>>().join(" ");
        words.contains(&found.to_ascii_uppercase().as_str())
    };
    let begins = is(first, &["BEGIN", "BEGIN TRANSACTION", "BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"]);
    let ends = is(last, &["COMMIT", "COMMIT TRANSACTION", "END", "END TRANSACTION"]);
    if begins && ends {
        for range in [first, last] {
            text.replace_range(range.clone(), &" ".repeat(range.len()));
        }
    }
    text
}

fn first_words(statement: &str) -> Vec<String> {
    let words = statement.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| !word.is_empty()).take(4).map(str::to_ascii_uppercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRIGGER: &str = "create trigger t after insert on a begin delete from b; end;";

    #[test]
    fn the_end_of_a_trigger_is_no_end_of_a_transaction() {
        let script = script_of_file(TRIGGER, true);
        assert_eq!((script.statements.len(), script.obstacle), (1, None));
    }

    #[test]
    fn a_transaction_in_a_transaction_is_found() {
        let found =
            |text: &str, inside| script_of_file(text, inside).obstacle.map(|(_, what)| what);
        let control = |what: &str| Some(format!("transaction control ({what})"));
        assert_eq!(found("select 1; commit", true), control("COMMIT"));
        assert_eq!(found("begin immediate; select 1; end", true), control("BEGIN"));
        assert_eq!(found("begin immediate; select 1; end", false), None);
        assert_eq!(found("begin; select 1", false), control("BEGIN without COMMIT"));
        assert_eq!(found("savepoint a; rollback to a; release a", true), None);
        assert_eq!(found(".read x", true).as_deref(), Some("a command of the sqlite3 shell"));
    }

    #[test]
    fn a_transaction_around_the_whole_file_is_taken_off() {
        let text = format!("BEGIN;\n{TRIGGER}\nCOMMIT;\n");
        assert_eq!(without_wrapper_of_file(text), format!("     ;\n{TRIGGER}\n      ;\n"));
        let half = "begin; select 1; commit; select 2".to_owned();
        assert_eq!(without_wrapper_of_file(half.clone()), half);
    }
}
