//! What databases hold, and what disks do: each dumped, proven and restored, or refused whole.

use super::*;

/// Kinds of objects whose rows are dumped in different ways, or not at all.
const EVERY_KIND: &str = "
    create schema \"two\nlines\";
    create table \"two\nlines\".\"it's \"\"é\"\"\" (\"the\nkey\" int primary key, t text);
    insert into \"two\nlines\".\"it's \"\"é\"\"\" values (1, E'\\\\.\\n'), (2, 'ü'), (3, null);
    create unlogged table sessions as select i, md5(i::text) from generate_series(1, 300) i;
    create table parts (i int, at date) partition by range (i);
    create table parts_1 partition of parts for values from (0) to (100);
    create table parts_2 partition of parts for values from (100) to (maxvalue)
        partition by list (at);
    create table parts_2_rest partition of parts_2 default;
    insert into parts select i, date '2026-01-01' + i from generate_series(1, 250) i;
    create type mood as enum ('calm', 'busy');
    create table generated (id int generated always as identity, m mood default 'busy',
        twice int generated always as (n * 2) stored, n int);
    insert into generated (n) select generate_series(1, 50);
    create materialized view totals as select count(*) from generated;
    create foreign data wrapper nowhere;
    create server away foreign data wrapper nowhere;
    create foreign table remote (i int) server away;
    create function told() returns event_trigger language plpgsql as 'begin end';
    create event trigger watches on ddl_command_start execute function told();
    select lo_from_bytea(0, convert_to(repeat(md5('x'), 3000), 'UTF8'));
    select lo_from_bytea(0, '');
";

fn tmpfs(fixture: &Fixture, options: &str) -> Mounted {
    let dir = fixture.dir.path().join("backups");
    std::fs::create_dir_all(&dir).unwrap();
    mounted(&dir, options)
}

/// Mounts an empty file system in memory over this directory.
pub fn mounted(dir: &Path, options: &str) -> Mounted {
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", options, "tmpfs"])
        .arg(dir)
        .status()
        .unwrap();
    assert!(mounted.success());
    Mounted(dir.to_owned())
}

/// A file system that is mounted until the value is dropped.
pub struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn objects_of_every_kind_come_back_as_they_were() {
    let fixture = Fixture::with(EVERY_KIND);
    let before = fixture.server.dump("app");
    let database = fixture.database();
    let point = fixture.create(&database).unwrap();
    fixture.server.psql("app", "drop table parts, sessions; truncate generated");
    fixture.restore(&point, &database).unwrap();
    assert_eq!(fixture.server.dump("app"), before);
    let objects = "select count(*) || ' ' || sum(length(lo_get(oid))) from pg_largeobject_metadata";
    assert_eq!(fixture.server.psql("app", objects), "2 96000");
}

#[test]
fn a_database_without_the_public_schema_comes_back_without_it() {
    let fixture =
        Fixture::with("drop schema public; create schema own; create table own.t (i int)");
    let before = fixture.server.dump("app");
    let database = fixture.database();
    let point = fixture.create(&database).unwrap();
    fixture.server.psql("app", "create schema public; drop schema own cascade");
    fixture.restore(&point, &database).unwrap();
    assert_eq!(fixture.server.dump("app"), before);
}

#[test]
fn a_table_larger_than_what_is_read_at_once_comes_back_whole() {
    // About 25 MB; OPENWATCH_BIG_TABLE=5000000 are the 5 GB that nobody has time for every day.
    let rows = std::env::var("OPENWATCH_BIG_TABLE").map_or(25_000, |rows| rows.parse().unwrap());
    let fixture = Fixture::with(&format!(
        "create table big as select i, repeat(md5(i::text), 30) as t from generate_series(1, {rows}) i"
    ));
    let sum = "select count(*) || ' ' || md5(string_agg(md5(b::text), '' order by i)) from big b";
    let before = fixture.server.psql("app", sum);
    let database = fixture.database();
    let point = fixture.create(&database).unwrap();
    fixture.store().verify(point.id(), &Silent).unwrap();
    fixture.server.psql("app", "truncate big");
    fixture.restore(&point, &database).unwrap();
    assert_eq!(fixture.server.psql("app", sum), before);
}

#[test]
fn members_are_compressed_while_the_client_is_still_at_work() {
    let fixture = Fixture::new();
    // The client does not end before a member of the archive is there; it gives up after a while.
    let script = "for a; do case $a in --file=*) dir=${a#--file=};; esac; done
        $real \"$@\" || exit; tries=0
        until ls \"$dir\"/../main/*.dat.* >/dev/null 2>&1; do
          tries=$((tries + 1)); [ $tries -lt 2400 ] || exit 9; sleep 0.05
        done";
    let point = fixture.create_with_client(script).unwrap();
    let archive = &point.manifest().databases[0];
    assert_eq!(archive.plain_bytes.is_some(), archive.compression == "gzip:1");
}

#[test]
fn a_member_that_grows_after_it_was_closed_is_refused() {
    let fixture = Fixture::new();
    let script = "for a; do case $a in --file=*) dir=${a#--file=};; esac; done
        $real \"$@\" || exit; echo more >> $(ls -S $dir/[0-9]*.dat* | head -1)";
    let error = fixture.create_with_client(script).unwrap_err();
    assert_backup_failed(&fixture, &error);
}

/// Row 15.
#[test]
fn a_disk_that_is_full_at_any_point_leaves_nothing_or_a_whole_restore_point() {
    if !is_root() {
        eprintln!("SKIPPED a_disk_that_is_full_at_any_point: needs root to mount");
        return;
    }
    let fixture = Fixture::with(
        "create table a as select i, md5(i::text) as t from generate_series(1, 12000) i;
         create table b as select i, md5((i * 7)::text) as t from generate_series(1, 12000) i",
    );
    let mut ended = Vec::new();
    for options in [
        "size=16k",
        "size=64k",
        "size=256k",
        "size=512k",
        "size=700k",
        "size=900k",
        "size=2m",
        "size=64m",
        "size=64m,nr_inodes=4",
        "size=64m,nr_inodes=6",
    ] {
        let mounted = tmpfs(&fixture, &format!("{options},mode=0700"));
        match fixture.create(&fixture.database()) {
            Ok(point) => {
                fixture.store().verify(point.id(), &Silent).unwrap();
                ended.push(true);
            }
            Err(error) => {
                assert_eq!(error.outcome(), Outcome::BackupFailed, "{options}: {error:?}");
                assert_eq!(fixture.names(), Vec::<String>::new(), "{options}: {error:?}");
                ended.push(false);
            }
        }
        drop(mounted);
    }
    assert_eq!((ended[0], ended[7], ended[8]), (false, true, false), "{ended:?}");
}

#[test]
fn a_dump_larger_than_the_database_is_compressed_by_the_client_when_room_runs_out() {
    if !is_root() {
        eprintln!("SKIPPED a_dump_larger_than_the_database: needs root to mount");
        return;
    }
    // Sixty megabytes of rows that the server keeps in less than one.
    let fixture = Fixture::with(
        "create table wide as select i, repeat(md5(i::text), 60000) as t from generate_series(1, 32) i",
    );
    let _mounted = tmpfs(&fixture, "size=24m,mode=0700");
    let point = fixture.create(&fixture.database()).unwrap();
    fixture.store().verify(point.id(), &Silent).unwrap();
}

/// Row 9.
#[test]
fn a_file_system_that_cannot_be_written_fails_before_anything_is_dumped() {
    if !is_root() {
        eprintln!("SKIPPED a_file_system_that_cannot_be_written: needs root to mount");
        return;
    }
    let fixture = Fixture::new();
    let store = fixture.store();
    let _mounted = tmpfs(&fixture, "size=1m,mode=0700,ro");
    let database = fixture.database();
    let error = store.create(&fixture.request(&[&database]), &Silent).unwrap_err();
    assert_eq!(error.outcome(), Outcome::BackupFailed);
    assert!(error.message().contains("Read-only file system"), "{error:?}");
}

#[test]
fn five_thousand_tables_have_a_restore_point() {
    let fixture = Fixture::with("");
    let sql = "do $$ begin for i in 1 .. 2500 loop
        execute format('create table t%s (i int); insert into t%1$s values (%1$s)', i);
        end loop; end $$";
    fixture.server.psql("app", sql);
    fixture.server.psql("app", &sql.replace("1 .. 2500", "2501 .. 5000"));
    let point = fixture.create(&fixture.database()).unwrap();
    assert_eq!(point.manifest().databases[0].tables, 5000);
    fixture.store().verify(point.id(), &Silent).unwrap();
}
