//! What kind of statement a text is, as far as a run outside a transaction has to know.
//!
//! Only the beginning of a statement is looked at, and only for the few kinds that the server runs
//! outside a transaction alone, or that change nothing but the session. A statement that is not
//! recognised is offered to the server inside a transaction; its refusal is the better judge.

use super::tokens::{Kind, Token, Tokens};

/// A kind of statement; names are as the text has them, quotes and schema included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::migrations) enum Statement {
    /// `CREATE INDEX CONCURRENTLY`.
    Build { index: Option<String>, table: String },
    /// `DROP INDEX CONCURRENTLY`.
    Drop { index: String },
    /// `REINDEX … CONCURRENTLY`.
    Rebuild,
    /// `ALTER TABLE … DETACH PARTITION … CONCURRENTLY`.
    Detach { table: String, partition: String },
    /// `ALTER TYPE … ADD VALUE`; the label is as the server knows it.
    Label { of: String, label: String },
    /// `VACUUM`.
    Vacuum,
    /// Another that may run twice without harm.
    Again,
    /// Changes the session only: settings, the role.
    Session,
    /// Makes what only this session has, such as a temporary table.
    Temporary,
    /// May commit what it does in several transactions: `CALL`, and `DO` with a `COMMIT` in it.
    Opaque,
    /// Anything else.
    Other,
}

impl Statement {
    /// Returns whether the server never runs it inside a transaction.
    pub(in crate::migrations) fn refuses_transaction(&self) -> bool {
        match self {
            Self::Build { .. }
            | Self::Drop { .. }
            | Self::Rebuild
            | Self::Detach { .. }
            | Self::Vacuum
            | Self::Opaque => true,
            Self::Label { .. } | Self::Again | Self::Session | Self::Temporary | Self::Other => {
                false
            }
        }
    }
}

/// Tells the kind of a statement.
pub(in crate::migrations) fn kind(text: &str) -> Statement {
    let tokens: Vec<Token> = Tokens::of(text).collect();
    let mut reader = Reader { text, tokens: &tokens, at: 0 };
    let first = reader.any_word().unwrap_or_default();
    match first.as_str() {
        "CREATE" => create(&mut reader).unwrap_or_else(|| temporary(&reader)),
        "DROP" => drop(&mut reader).unwrap_or(Statement::Other),
        "ALTER" => alter(&mut reader).unwrap_or(Statement::Other),
        "REINDEX" if reader.has("CONCURRENTLY") => Statement::Rebuild,
        "VACUUM" => Statement::Vacuum,
        "REINDEX" | "ANALYZE" | "ANALYSE" | "CLUSTER" | "CHECKPOINT" => Statement::Again,
        "SET" | "RESET" | "DISCARD" | "LOAD" => Statement::Session,
        "SELECT" if sets(&mut reader) => Statement::Session,
        "SELECT" | "WITH" => temporary(&reader),
        "PREPARE" | "DECLARE" | "LISTEN" => Statement::Temporary,
        "CALL" => Statement::Opaque,
        "DO" if commits(text, &tokens) => Statement::Opaque,
        _ => Statement::Other,
    }
}

fn create(reader: &mut Reader<'_>) -> Option<Statement> {
    reader.word("UNIQUE");
    if !(reader.word("INDEX") && reader.word("CONCURRENTLY")) {
        return None;
    }
    let guarded = reader.words(&["IF", "NOT", "EXISTS"]);
    let unnamed = !guarded && reader.word("ON");
    let index = if unnamed { None } else { Some(reader.name()?) };
    if !unnamed && !reader.word("ON") {
        return None;
    }
    reader.word("ONLY");
    Some(Statement::Build { index, table: reader.name()? })
}

fn drop(reader: &mut Reader<'_>) -> Option<Statement> {
    if reader.word("INDEX") {
        if !reader.word("CONCURRENTLY") {
            return None;
        }
        reader.words(&["IF", "EXISTS"]);
        return Some(Statement::Drop { index: reader.name()? });
    }
    let shared =
        reader.word("DATABASE") || reader.word("TABLESPACE") || reader.word("SUBSCRIPTION");
    (shared && reader.words(&["IF", "EXISTS"])).then_some(Statement::Again)
}

fn alter(reader: &mut Reader<'_>) -> Option<Statement> {
    if reader.word("SYSTEM") {
        return Some(Statement::Again);
    }
    if reader.word("TYPE") {
        let of = reader.name()?;
        if !reader.words(&["ADD", "VALUE"]) {
            return None;
        }
        if reader.words(&["IF", "NOT", "EXISTS"]) {
            return Some(Statement::Again);
        }
        let label = reader.text_token()?.strip_prefix('\'')?.strip_suffix('\'')?;
        return Some(Statement::Label { of, label: label.replace("''", "'") });
    }
    if !reader.word("TABLE") {
        return None;
    }
    reader.words(&["IF", "EXISTS"]);
    reader.word("ONLY");
    let table = reader.name()?;
    if !reader.words(&["DETACH", "PARTITION"]) {
        return None;
    }
    let partition = reader.name()?;
    reader.word("CONCURRENTLY").then_some(Statement::Detach { table, partition })
}

/// `SELECT set_config(…)`, as every dump has it.
fn sets(reader: &mut Reader<'_>) -> bool {
    reader.name().is_some_and(|name| {
        let name = name.to_ascii_lowercase();
        name == "set_config" || name == "pg_catalog.set_config"
    })
}

fn temporary(reader: &Reader<'_>) -> Statement {
    // In `create [or replace] [local] temp …` and `select … into temp …`.
    if reader.has("TEMP") || reader.has("TEMPORARY") {
        Statement::Temporary
    } else {
        Statement::Other
    }
}

fn commits(text: &str, tokens: &[Token]) -> bool {
    tokens.iter().filter(|token| token.kind == Kind::Text).any(|token| {
        let body = text[token.range.clone()].to_ascii_uppercase();
        body.contains("COMMIT") || body.contains("ROLLBACK")
    })
}

/// Reads the words and names of one statement in their order.
struct Reader<'a> {
    text: &'a str,
    tokens: &'a [Token],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<(Kind, &str)> {
        let token = self.tokens.get(self.at)?;
        Some((token.kind, &self.text[token.range.clone()]))
    }

    fn any_word(&mut self) -> Option<String> {
        let (Kind::Word, word) = self.peek()? else { return None };
        let word = word.to_ascii_uppercase();
        self.at += 1;
        Some(word)
    }

    /// Takes this word, if it is next.
    fn word(&mut self, word: &str) -> bool {
        let is = matches!(self.peek(), Some((Kind::Word, next)) if next.eq_ignore_ascii_case(word));
        self.at += usize::from(is);
        is
    }

    /// Takes these words, if they are next.
    fn words(&mut self, words: &[&str]) -> bool {
        let from = self.at;
        let all = words.iter().all(|word| self.word(word));
        if !all {
            self.at = from;
        }
        all
    }

    /// Takes a name with its schema, as it is written.
    fn name(&mut self) -> Option<String> {
        let mut name = String::new();
        loop {
            let (Kind::Word | Kind::Name, part) = self.peek()? else { return None };
            name.push_str(part);
            self.at += 1;
            if !matches!(self.peek(), Some((Kind::Sign(b'.'), _))) {
                return Some(name);
            }
            name.push('.');
            self.at += 1;
        }
    }

    fn text_token(&mut self) -> Option<&str> {
        match self.peek()? {
            (Kind::Text, text) => Some(text),
            (Kind::Word | Kind::Name | Kind::Number | Kind::Sign(_), _) => None,
        }
    }

    fn has(&self, word: &str) -> bool {
        self.tokens.iter().any(|token| {
            token.kind == Kind::Word && self.text[token.range.clone()].eq_ignore_ascii_case(word)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_outside_transactions_only_is_recognised() {
        let build = |index: Option<&str>, table: &str| Statement::Build {
            index: index.map(str::to_owned),
            table: table.to_owned(),
        };
        for (text, wanted) in [
            ("create index concurrently i on t (a)", build(Some("i"), "t")),
            (
                "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS \"I\" ON ONLY s . \"T\" USING gin(a)",
                build(Some("\"I\""), "s.\"T\""),
            ),
            ("create index /* x */ concurrently on t(a)", build(None, "t")),
            ("create index i on t(a)", Statement::Other),
            ("drop index concurrently if exists s.i", Statement::Drop { index: "s.i".into() }),
            ("drop index i", Statement::Other),
            ("reindex (verbose) index concurrently i", Statement::Rebuild),
            ("reindex (concurrently) table t", Statement::Rebuild),
            ("reindex database d", Statement::Again),
            (
                "alter table if exists only s.p detach partition c concurrently",
                Statement::Detach { table: "s.p".into(), partition: "c".into() },
            ),
            ("alter table p detach partition c", Statement::Other),
            (
                "alter type s.mood add value 'it''s' before 'x'",
                Statement::Label { of: "s.mood".into(), label: "it's".into() },
            ),
            ("alter type mood add value if not exists 'x'", Statement::Again),
            ("alter system set work_mem = '4MB'", Statement::Again),
            ("drop database if exists x", Statement::Again),
            ("drop database x", Statement::Other),
            ("vacuum (analyze) t", Statement::Vacuum),
        ] {
            assert_eq!(kind(text), wanted, "{text}");
        }
    }

    #[test]
    fn what_only_the_session_has_is_recognised() {
        for text in ["set a = 1", "RESET all", "select pg_catalog.set_config('a', '', false)"] {
            assert_eq!(kind(text), Statement::Session, "{text}");
        }
        for text in [
            "create temp table x (a int)",
            "create or replace local temporary view x as select 1",
            "select 1 as a into temp x",
            "prepare p as select 1",
        ] {
            assert_eq!(kind(text), Statement::Temporary, "{text}");
        }
        for text in ["select set_configured(1)", "insert into t values (1)", "update t set a = 1"] {
            assert_eq!(kind(text), Statement::Other, "{text}");
        }
    }

    #[test]
    fn what_may_commit_by_itself_is_opaque() {
        assert_eq!(kind("call p()"), Statement::Opaque);
        assert_eq!(kind("do $$ begin perform 1; commit; end $$"), Statement::Opaque);
        assert_eq!(kind("do $$ begin perform 1; end $$"), Statement::Other);
    }
}
