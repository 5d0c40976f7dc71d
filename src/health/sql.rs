//! A statement that answers with one true row.

use std::time::Duration;

use super::Connect;
use super::ask::Attempt;
use crate::database::{Dialect, Session};
use crate::outcome::Outcome;
use crate::system::clock::{spoken, within};

pub(super) fn ask(database: &str, statement: &str, connect: &Connect, limit: Duration) -> Attempt {
    let (database, statement) = (database.to_owned(), statement.to_owned());
    let connect = Connect::clone(connect);
    // The server ends the statement; a server or pooler that does not even answer is left behind.
    let answer = within(limit, move || answer(&database, &statement, &connect, limit));
    answer.unwrap_or_else(|| Attempt::Wrong(format!("no answer within {}", spoken(limit))))
}

fn answer(database: &str, statement: &str, connect: &Connect, limit: Duration) -> Attempt {
    let mut session = match connect(database) {
        Ok(session) => session,
        Err(error) if error.outcome() == Outcome::Config => {
            return Attempt::Hopeless(error.message());
        }
        Err(error) => return Attempt::Wrong(error.message()),
    };
    if session.dialect() == Dialect::Sqlite {
        return answer_of_file(&mut session, statement);
    }
    // A look changes nothing, and it ends with its deadline.
    let milliseconds = limit.as_millis().clamp(1, 86_400_000);
    let settings =
        format!("set default_transaction_read_only = on; set statement_timeout = {milliseconds}");
    let rows = session.run(&settings).and_then(|()| session.rows(statement, &[]));
    match rows.as_deref() {
        Ok([row]) if !row.is_empty() => match row.try_get::<_, Option<bool>>(0) {
            Ok(Some(true)) => Attempt::right("true"),
            Ok(Some(false)) => Attempt::Wrong("false".into()),
            Ok(None) => Attempt::Wrong("null".into()),
            Err(_) => Attempt::Hopeless("the answer is not a boolean".into()),
        },
        Ok(rows) => Attempt::Wrong(format!("{} rows instead of one", rows.len())),
        Err(error) => Attempt::Wrong(error.to_string()),
    }
}

/// SQLite has numbers for what is true: 1 is right.
fn answer_of_file(session: &mut Session, statement: &str) -> Attempt {
    let rows = session.begin_looking().and_then(|()| session.simple(statement));
    match rows.as_deref() {
        Ok([row]) => match row.first().and_then(Option::as_deref) {
            Some("1") => Attempt::right("true"),
            Some("0") => Attempt::Wrong("false".into()),
            None => Attempt::Wrong("null".into()),
            Some(_) => Attempt::Hopeless("the answer is neither 1 nor 0".into()),
        },
        Ok(rows) => Attempt::Wrong(format!("{} rows instead of one", rows.len())),
        Err(error) => Attempt::Wrong(error.to_string()),
    }
}
