//! Files that bring their own transaction around everything.
//!
//! A tool that opens none leaves that to its files, and many begin with `BEGIN` and end with
//! `COMMIT`. Within our transaction both would be refused, and neither is needed.

use super::scan;

/// Returns the text with the first and the last statement as spaces, where they are nothing but the
/// two ends of a transaction; else as it is. Places stay what they are.
pub(in crate::migrations) fn without_wrapper(text: &str) -> String {
    unwrapped(text).unwrap_or_else(|| text.to_owned())
}

fn unwrapped(text: &str) -> Option<String> {
    const BEGIN: &[&str] = &["BEGIN", "BEGIN WORK", "BEGIN TRANSACTION", "START TRANSACTION"];
    const END: &[&str] =
        &["COMMIT", "COMMIT WORK", "COMMIT TRANSACTION", "END", "END WORK", "END TRANSACTION"];
    if !may_begin(text) {
        return None;
    }
    // A scan ends at the first thing that cannot run, which is the statement that it has last.
    let begin = scan(text).statements.into_iter().next()?;
    let is = |statement: &str, words: &[&str]| {
        let statement = statement.split_whitespace().collect::<Vec<_>>().join(" ");
        words.contains(&statement.to_ascii_uppercase().as_str())
    };
    if !is(&text[begin.clone()], BEGIN) {
        return None;
    }
    let mut open = text.to_owned();
    open.replace_range(begin.clone(), &" ".repeat(begin.len()));
    let end = scan(&open).statements.pop()?;
    let rest = scan(&open[end.end..]);
    if !is(&open[end.clone()], END) || !rest.statements.is_empty() || rest.obstacle.is_some() {
        return None;
    }
    open.replace_range(end.clone(), &" ".repeat(end.len()));
    Some(open)
}

/// Whether it is worth a scan, which every file would pay at every look; most end here.
fn may_begin(text: &str) -> bool {
    let mut rest = text.trim_start();
    while let Some(comment) = rest.strip_prefix("--") {
        rest = comment.split_once('\n').map_or("", |(_, rest)| rest).trim_start();
    }
    let begins = |word: &str| rest.get(..word.len()).is_some_and(|h| h.eq_ignore_ascii_case(word));
    // Comments of the other kind nest; those are left to the scanner.
    ["begin", "start", "/*", ";"].into_iter().any(begins)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_around_the_whole_file_is_taken_off() {
        assert_eq!(
            without_wrapper("-- x\nBEGIN;\nselect 1;\ncommit ;\n-- end\n"),
            "-- x\n     ;\nselect 1;\n       ;\n-- end\n"
        );
        assert_eq!(
            without_wrapper("begin transaction; select 1; END"),
            "                 ; select 1;    "
        );
        assert_eq!(
            without_wrapper("\n-- a\r\n--\n\t/* b */ Start Transaction; x; End"),
            "\n-- a\r\n--\n\t/* b */                  ; x;    "
        );
    }

    #[test]
    fn everything_else_stays_to_be_refused() {
        for text in [
            "begin; select 1; commit; select 2;",
            "begin; commit; begin; commit;",
            "select 1; commit;",
            "begin; select 1;",
            "begin isolation level serializable; select 1; commit;",
            "begin; select 1; rollback;",
            "select 1;",
            "",
        ] {
            assert_eq!(without_wrapper(text), text);
        }
    }
}
