//! The table that says who rewrote a history by hand, when, why, and what stood there before.
//!
//! It is ours and lies in the schema of the history table; it exists once a history was rewritten.

use super::correction::{Signature, Write};
use crate::database::literal;
use crate::migrations::history::Table;

/// Name of the table.
pub(super) const NAME: &str = "openwatch_audit";

/// Makes the table where there is none, and notes what is rewritten in the same transaction.
pub(super) fn note_sql(history: &Table, writes: &[Write], signed: &Signature) -> String {
    let table = Table { schema: history.schema.clone(), name: NAME.to_owned() };
    let maybe = |text: Option<&str>| text.map_or_else(|| "null".to_owned(), literal);
    let rows: Vec<String> = writes
        .iter()
        .map(|write| {
            format!(
                "({}, {}, {}, {}, {}, {}, {}, {}, {})",
                literal(write.action.word()),
                literal(&history.name),
                literal(&write.version),
                maybe(write.before.as_deref()),
                maybe(write.after.as_deref()),
                literal(&signed.who),
                literal(&signed.host),
                maybe(signed.why.as_deref()),
                literal(&signed.product_version),
            )
        })
        .collect();
    format!(
        "set local client_min_messages = warning;\
         create table if not exists {table} (\
           at timestamp with time zone not null default current_timestamp, \
           action text not null, \
           history text not null, \
           version text not null, \
           before text, \
           after text, \
           who text not null, \
           host text not null, \
           database_role text not null default session_user, \
           why text, \
           product_version text not null);\
         insert into {table} \
         (action, history, version, before, after, who, host, why, product_version) values {}",
        rows.join(",")
    )
}
