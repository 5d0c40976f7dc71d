//! The history tables of migration tools, by their columns: names alone do not tell them apart.

use crate::database::Shape;

/// A tool and the table by which it is recognised.
#[derive(Debug)]
pub(in crate::migrations) struct Known {
    /// What the tool is called.
    pub(in crate::migrations) tool: &'static str,
    /// The word of the configuration for it; where this version knows none, only `command` can run it.
    pub(in crate::migrations) word: &'static str,
    /// How the tool itself applies what is pending, for those that only `command` can run.
    pub(in crate::migrations) itself: &'static str,
    /// Its own schema, where it has one; others are looked for on the search path.
    pub(in crate::migrations) schema: Option<&'static str>,
    pub(in crate::migrations) table: &'static str,
    /// Columns that must be there, `name` or `name type`; `text` is any type of characters.
    pub(in crate::migrations) columns: &'static [&'static str],
    /// Whether there may be no others.
    pub(in crate::migrations) only: bool,
    /// A second table in the same schema that must be there (true) or must not (false).
    pub(in crate::migrations) beside: Option<(&'static str, bool)>,
}

const fn format(
    word: &'static str,
    table: &'static str,
    columns: &'static [&'static str],
) -> Known {
    Known { tool: word, word, itself: "", schema: None, table, columns, only: false, beside: None }
}

const fn other(
    tool: &'static str,
    itself: &'static str,
    table: &'static str,
    columns: &'static [&'static str],
) -> Known {
    Known { tool, word: "", itself, schema: None, table, columns, only: false, beside: None }
}

const RAILS: &str = "ar_internal_metadata";

/// Every tool that is recognised; one table fits at most one of them.
pub(in crate::migrations) const KNOWN: &[Known] = &[
    format("plain", crate::migrations::TABLE, &["version text", "checksum text", "state text"]),
    format("goose", "goose_db_version", &["id", "version_id bigint", "is_applied boolean"]),
    Known {
        only: true,
        ..format("golang-migrate", "schema_migrations", &["version bigint", "dirty boolean"])
    },
    Known {
        only: true,
        beside: Some((RAILS, false)),
        ..format("dbmate", "schema_migrations", &["version text"])
    },
    format(
        "sqlx",
        "_sqlx_migrations",
        &["version bigint", "description text", "success boolean", "checksum bytea"],
    ),
    format("diesel", "__diesel_schema_migrations", &["version text", "run_on"]),
    format(
        "refinery",
        "refinery_schema_history",
        &["version integer", "name text", "applied_on text", "checksum text"],
    ),
    format(
        "refinery-int8",
        "refinery_schema_history",
        &["version bigint", "name text", "applied_on text", "checksum text"],
    ),
    format(
        "flyway",
        "flyway_schema_history",
        &["installed_rank integer", "version text", "script text", "success boolean"],
    ),
    other(
        "an old Flyway",
        "flyway migrate",
        "schema_version",
        &["installed_rank integer", "version text", "script text", "success boolean"],
    ),
    Known {
        only: true,
        beside: Some((RAILS, true)),
        ..other("Rails", "bin/rails db:migrate", "schema_migrations", &["version text"])
    },
    other(
        "Ecto",
        "bin/app eval App.Release.migrate",
        "schema_migrations",
        &["version bigint", "inserted_at"],
    ),
    Known {
        schema: Some("supabase_migrations"),
        ..other("Supabase", "supabase db push", "schema_migrations", &["version text"])
    },
    Known { only: true, ..other("tern", "tern migrate", "schema_version", &["version integer"]) },
    Known {
        only: true,
        ..other("Alembic", "alembic upgrade head", "alembic_version", &["version_num text"])
    },
    other(
        "Django",
        "manage.py migrate --noinput",
        "django_migrations",
        &["app text", "name text", "applied"],
    ),
    other(
        "Prisma",
        "prisma migrate deploy",
        "_prisma_migrations",
        &["migration_name text", "checksum text", "finished_at", "rolled_back_at"],
    ),
    other(
        "Liquibase",
        "liquibase update",
        "databasechangelog",
        &["id text", "author text", "filename text", "md5sum text"],
    ),
    other(
        "Atlas",
        "atlas migrate apply",
        "atlas_schema_revisions",
        &["version text", "applied", "total", "hash text"],
    ),
    Known {
        schema: Some("sqitch"),
        ..other("Sqitch", "sqitch deploy", "changes", &["change_id text", "script_hash text"])
    },
    Known {
        schema: Some("pgroll"),
        ..other(
            "pgroll",
            "pgroll migrate",
            "migrations",
            &["name text", "migration", "done boolean"],
        )
    },
    Known {
        schema: Some("reshape"),
        ..other("reshape", "reshape migrate", "migrations", &["index integer", "actions"])
    },
    Known {
        schema: Some("graphile_migrate"),
        ..other(
            "graphile-migrate",
            "graphile-migrate migrate",
            "migrations",
            &["hash text", "previous_hash text", "filename text"],
        )
    },
    Known {
        schema: Some("drizzle"),
        ..other(
            "Drizzle",
            "drizzle-kit migrate",
            "__drizzle_migrations",
            &["hash text", "created_at"],
        )
    },
    other("sql-migrate", "sql-migrate up", "gorp_migrations", &["id text", "applied_at"]),
    other("node-pg-migrate", "node-pg-migrate up", "pgmigrations", &["name text", "run_on"]),
    other(
        "Knex",
        "knex migrate:latest",
        "knex_migrations",
        &["name text", "batch", "migration_time"],
    ),
    other(
        "SeaORM",
        "sea-orm-cli migrate up",
        "seaql_migrations",
        &["version text", "applied_at bigint"],
    ),
    other(
        "Entity Framework",
        "efbundle",
        "__EFMigrationsHistory",
        &["MigrationId text", "ProductVersion text"],
    ),
];

impl Known {
    /// Returns whether a table has the columns of this tool's, whatever its name.
    pub(in crate::migrations) fn fits(&self, found: &Shape, all: &[Shape]) -> bool {
        let has = |wanted: &str| {
            let (name, kind) = wanted.split_once(' ').unwrap_or((wanted, ""));
            found.columns.iter().any(|(column, of)| column == name && is_kind(of, kind))
        };
        let beside = self.beside.is_none_or(|(table, wanted)| {
            let there = |other: &Shape| other.schema == found.schema && other.table == table;
            all.iter().any(there) == wanted
        });
        let alone = !self.only || found.columns.len() == self.columns.len();
        beside && alone && self.columns.iter().all(|wanted| has(wanted))
    }

    /// Returns whether this is where the tool keeps its table.
    pub(in crate::migrations) fn lies_at(&self, found: &Shape) -> bool {
        // Atlas names its schema like its table, where it is not told otherwise.
        let own = self.schema.map_or_else(
            || found.on_path || found.schema == self.table,
            |schema| found.schema == schema,
        );
        own && found.table == self.table
    }
}

fn is_kind(of: &str, kind: &str) -> bool {
    match kind {
        "" => true,
        "text" => matches!(of, "text" | "character varying" | "character"),
        other => of == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(schema: &str, table: &str, columns: &str) -> Shape {
        let column = |text: &str| {
            let (name, kind) = text.split_once(' ').unwrap();
            (name.to_owned(), kind.to_owned())
        };
        Shape {
            schema: schema.into(),
            table: table.into(),
            on_path: schema == "public",
            columns: columns.split(", ").map(column).collect(),
        }
    }

    fn tools(all: &[Shape]) -> Vec<&'static str> {
        let of =
            |one: &Shape| KNOWN.iter().find(|k| k.lies_at(one) && k.fits(one, all)).map(|k| k.tool);
        all.iter().filter_map(of).collect()
    }

    #[test]
    fn six_tools_share_a_name_and_columns_tell_them_apart() {
        let table = |columns: &str| found("public", "schema_migrations", columns);
        let version = table("version character varying");
        let rails = found("public", RAILS, "key character varying, value character varying");
        assert_eq!(tools(&[table("version bigint, dirty boolean")]), ["golang-migrate"]);
        assert_eq!(tools(std::slice::from_ref(&version)), ["dbmate"]);
        assert_eq!(tools(&[version, rails]), ["Rails"]);
        let ecto = "version bigint, inserted_at timestamp without time zone";
        assert_eq!(tools(&[table(ecto)]), ["Ecto"]);
        let supabase = "version text, statements text[], name text";
        assert_eq!(
            tools(&[found("supabase_migrations", "schema_migrations", supabase)]),
            ["Supabase"]
        );
        assert_eq!(tools(&[table("version bigint, who text")]), [""; 0]);
        assert_eq!(tools(&[table("id integer")]), [""; 0]);
    }

    #[test]
    fn a_table_off_the_search_path_is_nobodys() {
        assert_eq!(
            tools(&[found("other", "alembic_version", "version_num character varying")]),
            [""; 0]
        );
        let atlas = "version text, applied bigint, total bigint, hash text";
        assert_eq!(
            tools(&[found("atlas_schema_revisions", "atlas_schema_revisions", atlas)]),
            ["Atlas"]
        );
    }

    #[test]
    fn the_width_of_a_number_tells_the_two_refineries_apart() {
        let table = |kind: &str| {
            let columns = format!(
                "version {kind}, name character varying, applied_on character varying, \
                 checksum character varying"
            );
            found("public", "refinery_schema_history", &columns)
        };
        assert_eq!(tools(&[table("integer")]), ["refinery"]);
        assert_eq!(tools(&[table("bigint")]), ["refinery-int8"]);
    }

    #[test]
    fn no_table_fits_two_tools() {
        for one in KNOWN {
            let kind = |wanted: &&str| {
                let (name, kind) = wanted.split_once(' ').unwrap_or((wanted, "integer"));
                (name.to_owned(), kind.to_owned())
            };
            let table = Shape {
                schema: one.schema.unwrap_or("public").into(),
                table: one.table.into(),
                on_path: one.schema.is_none(),
                columns: one.columns.iter().map(kind).collect(),
            };
            let mut all = vec![table];
            if let Some((beside, true)) = one.beside {
                all.push(found(&all[0].schema, beside, "key text"));
            }
            let fits = |k: &&Known| k.lies_at(&all[0]) && k.fits(&all[0], &all);
            let fitting: Vec<&str> = KNOWN.iter().filter(fits).map(|k| k.tool).collect();
            assert_eq!(fitting, [one.tool]);
        }
    }
}
