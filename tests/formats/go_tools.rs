//! dbmate itself; goose and golang-migrate by the statements that they send, because no registry
//! carries their programs: written down from `internal/dialects/postgres.go`, `provider_run.go` and
//! `database/postgres/postgres.go`, not from our own.

use std::path::PathBuf;
use std::process::Command;

use openwatch::config::Format;

use super::chains::Step;
use super::site::Site;
use super::support::peers;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    Dbmate,
    Goose,
    GolangMigrate,
}

impl Tool {
    pub fn format(self) -> Format {
        match self {
            Self::Dbmate => Format::Dbmate,
            Self::Goose => Format::Goose,
            Self::GolangMigrate => Format::GolangMigrate,
        }
    }

    /// The history without times.
    pub fn history_sql(self) -> &'static str {
        match self {
            Self::Dbmate => "select version from schema_migrations order by version",
            Self::Goose => "select version_id, is_applied from goose_db_version order by id",
            Self::GolangMigrate => "select version, dirty from schema_migrations",
        }
    }

    /// Writes one migration as the tool wants it.
    pub fn write(self, site: &Site, step: &Step) {
        let Step { version, name, up, down, alone } = step;
        match self {
            Self::Dbmate => {
                let option = if *alone { " transaction:false" } else { "" };
                let text = format!("-- migrate:up{option}\n{up}\n-- migrate:down\n{down}");
                site.ship(&[(&format!("{version:015}_{name}.sql"), &text)]);
            }
            Self::Goose => {
                let option = if *alone { "-- +goose NO TRANSACTION\n" } else { "" };
                let text = format!(
                    "{option}-- +goose Up\n-- +goose StatementBegin\n{up}\n-- +goose StatementEnd\n\
                     -- +goose Down\n-- +goose StatementBegin\n{down}\n-- +goose StatementEnd\n"
                );
                site.ship(&[(&format!("{version:05}_{name}.sql"), &text)]);
            }
            Self::GolangMigrate => {
                // What its own documentation advises for files of several statements.
                let wrapped = format!("BEGIN;\n{up}\n;\nCOMMIT;\n");
                let up = if *alone || version % 2 == 0 { up } else { &wrapped };
                site.ship(&[
                    (&format!("{version}_{name}.up.sql"), up),
                    (&format!("{version}_{name}.down.sql"), down),
                ]);
            }
        }
    }

    /// Applies what is pending of `steps`; `None` once it is said that the test is left out.
    pub fn migrate(self, site: &Site, steps: &[Step]) -> Option<()> {
        match self {
            Self::Dbmate => drop(dbmate(site, &["migrate"])?),
            Self::Goose => goose(site, steps),
            Self::GolangMigrate => golang_migrate(site, steps),
        }
        Some(())
    }

    /// What the tool would call pending.
    pub fn pending(self, site: &Site, steps: &[Step]) -> Vec<String> {
        match self {
            Self::Dbmate => {
                let status = dbmate(site, &["status"]).unwrap();
                status.lines().filter(|line| line.starts_with("[ ]")).map(str::to_owned).collect()
            }
            Self::Goose => {
                let known = goose_versions(site);
                let pending = steps.iter().filter(|step| !known.contains(&step.version));
                pending.map(|step| step.name.clone()).collect()
            }
            Self::GolangMigrate => {
                let mark = site.psql("select version from schema_migrations where not dirty");
                let mark: u64 = mark.parse().unwrap();
                let pending = steps.iter().filter(|step| step.version > mark);
                pending.map(|step| step.name.clone()).collect()
            }
        }
    }
}

/// Runs dbmate on the database of a site.
pub fn dbmate(site: &Site, words: &[&str]) -> Option<String> {
    let program: PathBuf = peers::tool("dbmate")?;
    let socket = site.server.socket().display();
    let url = format!(
        "postgres://postgres@/{}?host={socket}&port={}&sslmode=disable",
        site.dbname,
        site.server.port()
    );
    let output = Command::new(program)
        .args(["--url", &url, "--no-dump-schema", "--migrations-dir"])
        .arg(site.dir.path())
        .args(site.table.iter().flat_map(|table| {
            let schema = table.schema.as_ref().map_or(String::new(), |s| format!("{s}."));
            ["--migrations-table".to_owned(), format!("{schema}{}", table.name)]
        }))
        .args(words)
        .output()
        .unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{said}");
    Some(said)
}

fn goose_versions(site: &Site) -> Vec<u64> {
    let rows = site.psql("select version_id, is_applied from goose_db_version order by id desc");
    let mut seen = Vec::new();
    let mut applied = Vec::new();
    for row in rows.lines() {
        let (version, is_applied) = row.split_once('|').unwrap();
        let version: u64 = version.parse().unwrap();
        if !seen.contains(&version) {
            seen.push(version);
            applied.extend((is_applied == "t").then_some(version));
        }
    }
    applied
}

/// What `goose up` sends.
fn goose(site: &Site, steps: &[Step]) {
    let mut session = site.session();
    let mut send = |sql: &str| session.run(sql).unwrap();
    if site.psql("select to_regclass('goose_db_version') is null") == "t" {
        send(
            "BEGIN; CREATE TABLE goose_db_version ( id integer PRIMARY KEY GENERATED BY DEFAULT AS \
             IDENTITY, version_id bigint NOT NULL, is_applied boolean NOT NULL, tstamp timestamp NOT \
             NULL DEFAULT now() ); INSERT INTO goose_db_version (version_id, is_applied) VALUES (0, \
             true); COMMIT",
        );
    }
    let known = goose_versions(site);
    for Step { version, up, alone, .. } in steps.iter().filter(|s| !known.contains(&s.version)) {
        // Its scanner takes the ends off the lines.
        let up = up.replace("\r\n", "\n");
        let insert = format!(
            "INSERT INTO goose_db_version (version_id, is_applied) VALUES ({version}, true)"
        );
        if *alone {
            send(&up);
            send(&insert);
        } else {
            send(&format!("BEGIN;\n{up}\n; {insert}; COMMIT"));
        }
    }
}

/// What `migrate up` sends.
fn golang_migrate(site: &Site, steps: &[Step]) {
    let mut session = site.session();
    let mut send = |sql: &str| session.run(sql).unwrap();
    send(
        "CREATE TABLE IF NOT EXISTS \"public\".\"schema_migrations\" \
         (version bigint not null primary key, dirty boolean not null)",
    );
    let mark = site.psql("SELECT version FROM \"public\".\"schema_migrations\" LIMIT 1");
    let mark: u64 = if mark.is_empty() { 0 } else { mark.parse().unwrap() };
    for Step { version, up, .. } in steps.iter().filter(|step| step.version > mark) {
        for dirty in [true, false] {
            send(&format!(
                "BEGIN; TRUNCATE \"public\".\"schema_migrations\"; INSERT INTO \
                 \"public\".\"schema_migrations\" (version, dirty) VALUES ({version}, {dirty}); COMMIT"
            ));
            if dirty && !up.trim().is_empty() {
                send(up);
            }
        }
    }
}
