//! Restoring inside the present database, for roles that may not create another one.
//!
//! One transaction first drops what the role owns and then runs the archive as SQL: `--clean` would
//! leave what a migration added and fails on its dependants, and without a single transaction a
//! failure would leave a mixture. `psql` runs the text, because only it can feed both parts into
//! one transaction. It also obeys commands that begin with a backslash; the text comes from an
//! archive that only root can write and whose SHA-256 has just been compared, and clients since
//! August 2025 frame it with `\restrict` themselves (CVE-2025-8714).

use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

use super::Database;
use super::clients::Client;
use super::dump::told;
use super::facts::RowCount;
use super::lent::{Access, Lent};
use super::restore::comparison;
use crate::error::{Context, Error, Result};
use crate::progress::Progress;
use crate::system::fs;
use crate::system::process::{Call, Failure};

/// Last line of a complete text; a text without it was cut short, and `psql` would not notice.
const TRAILER: &str = "-- PostgreSQL database dump complete";

/// Drops everything that the role owns, except what belongs to an extension.
///
/// Own schemas go whole. In schemas of others (such as `public`) the objects go one by one, by the
/// name that the server itself gives them. Large objects have no schema.
const EMPTY: &str = r"set local lock_timeout = '30s';
set local client_min_messages = warning;
do $openwatch$
declare o record;
begin
  for o in select n.nspname from pg_namespace n
            where n.nspname !~ '^pg_' and n.nspname not in ('public', 'information_schema')
              and pg_has_role(n.nspowner, 'USAGE')
              and not exists (select from pg_depend d where d.classid = 'pg_namespace'::regclass
                               and d.objid = n.oid and d.deptype = 'e')
  loop
    execute format('drop schema if exists %I cascade', o.nspname);
  end loop;
  for o in select i.type, i.identity
             from pg_depend d join pg_namespace n on d.refobjid = n.oid,
                  lateral pg_identify_object(d.classid, d.objid, 0) i
            where d.refclassid = 'pg_namespace'::regclass and d.deptype = 'n'
              and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
              and not exists (select from pg_depend e where e.classid = d.classid
                               and e.objid = d.objid and e.deptype in ('e', 'i'))
              and i.type in ('table', 'view', 'materialized view', 'foreign table', 'sequence',
                  'composite type', 'type', 'domain', 'function', 'procedure', 'aggregate',
                  'operator', 'operator class', 'operator family', 'collation', 'conversion',
                  'statistics object', 'text search configuration', 'text search dictionary')
            order by array_position(array['view', 'materialized view', 'table'], i.type)
  loop
    execute format('drop %s if exists %s cascade',
      case o.type when 'composite type' then 'type' when 'statistics object' then 'statistics'
                  else o.type end,
      o.identity);
  end loop;
  for o in select p.pubname from pg_publication p where pg_has_role(p.pubowner, 'USAGE')
  loop
    execute format('drop publication if exists %I', o.pubname);
  end loop;
  for o in select l.oid from pg_largeobject_metadata l where pg_has_role(l.lomowner, 'USAGE')
  loop
    perform lo_unlink(o.oid);
  end loop;
end
$openwatch$;
";

/// Replaces the content of the present database by that of an archive, in one transaction.
///
/// `work` is a directory of ours with room for the archive as text, uncompressed.
pub fn restore_in_place(
    database: &Database,
    client: &Client,
    archive: &Path,
    wanted: &[(String, RowCount)],
    work: &Path,
    progress: &dyn Progress,
) -> Result<()> {
    let untouched = |error: Error| error.state("the present data is untouched");
    write_text(client, archive, work, database).map_err(untouched)?;
    write_new(&work.join("1-empty.sql"), EMPTY)?;
    write_new(&work.join("3-compare.sql"), &comparison(wanted))?;
    let lend = || format!("cannot hand {} to the client", work.display());
    let lent = Lent::new(work, database.identity(), Access::Read).context(lend)?;
    let call = database.call(&client.program("psql"));
    let (inside, call) = lent.pass(call).context(lend)?;
    let mut call = call
        .args(["--no-psqlrc", "--quiet", "--no-password", "--single-transaction"])
        .args(["--output=/dev/null", "--set=ON_ERROR_STOP=1"]);
    for name in ["1-empty.sql", "2-archive.sql", "3-compare.sql"] {
        call = call.arg(format!("--file={}", inside.join(name).display()));
    }
    let what = format!("loading {} in place", database.name());
    let ended = call.run_watched(|line| {
        if line.is_none() {
            progress.alive(&what, 0, None);
        }
    });
    lent.reclaim().context(|| format!("cannot take {} back", work.display()))?;
    ended.map(drop).map_err(|failure| ended_badly(database, &failure))
}

/// A killed client or a lost connection cannot have committed, except in the instant between the
/// server's commit and its answer.
fn ended_badly(database: &Database, failure: &Failure) -> Error {
    let state = match failure {
        Failure::Ended { status, .. } if status.code() == Some(3) => {
            "the present data is untouched"
        }
        Failure::NotStarted(_) => "the present data is untouched",
        Failure::Ended { .. } | Failure::TimedOut(_) | Failure::Interrupted(_) => {
            "the data is either that of before or that of the restore point, nothing between"
        }
    };
    told("psql", database, failure).state(state)
}

fn write_new(path: &Path, text: &str) -> Result<()> {
    fs::replace(path, text.as_bytes(), 0o600)
}

/// Writes an archive as SQL, without what only the owner of an extension may run.
fn write_text(client: &Client, archive: &Path, work: &Path, database: &Database) -> Result<()> {
    let call = || Call::new(client.program("pg_restore")).arg("--format=directory");
    let list = call()
        .arg("--list")
        .arg(archive)
        .run()
        .map_err(|failure| told("pg_restore", database, &failure))?;
    let list = String::from_utf8_lossy(&list.stdout);
    let kept: Vec<&str> =
        list.lines().filter(|line| !line.contains(" COMMENT - EXTENSION ")).collect();
    let (list, text) = (work.join("list"), work.join("2-archive.sql"));
    write_new(&list, &kept.join("\n"))?;
    // The client would create the file by its umask; made here, it has our mode from the start.
    fs::create_new(&text, 0o600).context(|| format!("cannot create {}", text.display()))?;
    call()
        .arg(format!("--use-list={}", list.display()))
        .arg(format!("--file={}", text.display()))
        .arg(archive)
        .run()
        .map_err(|failure| told("pg_restore", database, &failure))?;
    let complete =
        ends_with_trailer(&text).context(|| format!("cannot read {}", text.display()))?;
    if complete { Ok(()) } else { Err(Error::failed("the archive was not written out whole")) }
}

fn ends_with_trailer(path: &Path) -> std::io::Result<bool> {
    let mut file = fs::open_file(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(4096)))?;
    let mut end = Vec::new();
    file.read_to_end(&mut end)?;
    Ok(String::from_utf8_lossy(&end).contains(TRAILER))
}
