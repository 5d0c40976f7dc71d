//! What lies in the way of a dump or of a restore: files and links under its names, other people's
//! templates, a second server, and a server's disk that fills half way.

use super::*;

/// A name that is taken, by what, and what it must still be afterwards.
fn obstacles(dir: &Path, outside: &Path) -> Vec<(&'static str, PathBuf)> {
    fn link(to: PathBuf) -> impl Fn(&Path) {
        move |at| std::os::unix::fs::symlink(&to, at).unwrap()
    }
    let (file, linked_file, linked_dir, hanging) = (
        |at: &Path| std::fs::write(at, "precious").unwrap(),
        link(outside.join("file")),
        link(outside.to_owned()),
        link("/nonexistent/file".into()),
    );
    let full = |at: &Path| {
        std::fs::create_dir(at).unwrap();
        std::fs::write(at.join("toc.dat"), "precious").unwrap();
    };
    type Make<'a> = &'a dyn Fn(&Path);
    let kinds: [(&'static str, Make<'_>); 5] = [
        ("a file", &file),
        ("a link to a file", &linked_file),
        ("a link to a directory", &linked_dir),
        ("a link to nothing", &hanging),
        ("a directory with files", &full),
    ];
    let mut made = Vec::new();
    for (second, (kind, make)) in kinds.into_iter().enumerate() {
        for prefix in ["", ".partial-"] {
            let at = dir.join(format!("{prefix}20261120T13150{second}Z-1.0-1"));
            make(&at);
            made.push((kind, at));
        }
    }
    made
}

/// What is there, links told as links.
fn seen(paths: &[(&'static str, PathBuf)], outside: &Path) -> Vec<String> {
    let mut told = Vec::new();
    for path in paths.iter().map(|(_, path)| path.as_path()).chain([outside]) {
        let data = path.symlink_metadata().unwrap();
        told.push(format!(
            "{} {:o} {:?}",
            path.display(),
            data.mode(),
            std::fs::read_link(path).ok()
        ));
        if data.is_dir() {
            for file in files_below(path) {
                let mode = file.metadata().unwrap().mode();
                told.push(format!(
                    "{} {mode:o} {}",
                    file.display(),
                    std::fs::read_to_string(&file).unwrap()
                ));
            }
        } else if data.is_file() {
            told.push(std::fs::read_to_string(path).unwrap());
        }
    }
    told
}

/// Rows 16, 23 and 81.
#[test]
fn what_lies_under_the_names_of_a_dump_is_neither_followed_nor_written_over() {
    let fixture = Fixture::with("create table t as select 1");
    let outside = fixture.dir.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("file"), "precious").unwrap();
    let store = fixture.store();
    let there = obstacles(store.dir(), &outside);
    let before = seen(&there, &outside);
    let database = fixture.database();
    for second in 0..5 {
        let mut request = fixture.request(&[&database]);
        let at = format!("2026-11-20T13:15:0{second}Z");
        request.clock = Clock::Fixed(clock::parse_rfc3339(&at).unwrap());
        let point = store.create(&request, &Silent).unwrap();
        store.verify(point.id(), &Silent).unwrap();
        for path in files_below(point.dir()) {
            assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600, "{path:?}");
        }
        assert_eq!(seen(&there, &outside), before, "second {second}");
    }
}

#[test]
fn what_somebody_put_into_the_template_of_the_server_does_not_collide() {
    let fixture = Fixture::new();
    let before = fixture.server.dump("app");
    let database = fixture.database();
    let point = fixture.create(&database).unwrap();
    fixture.server.psql("template1", "create table hosts (somebody int); create schema other");
    fixture.server.psql("app", "drop table samples cascade");
    fixture.restore(&point, &database).unwrap();
    assert_eq!(fixture.server.dump("app"), before);
}

#[test]
fn databases_on_two_servers_are_one_restore_point_and_come_back_together() {
    let fixture = Fixture::new();
    let other = Server::start();
    other.psql("postgres", "create database app");
    other.psql("app", "create table reports as select i from generate_series(1, 200) i");
    let before = (fixture.server.dump("app"), other.dump("app"));
    let main = fixture.database();
    let reports = fixture.database_of("reports", &other.conninfo("app"));
    let point = fixture.store().create(&fixture.request(&[&main, &reports]), &Silent).unwrap();
    let identities: Vec<_> =
        point.manifest().databases.iter().map(|archive| archive.identity.clone()).collect();
    assert_ne!(identities[0], identities[1], "each knows its own server");
    fixture.server.psql("app", "drop table samples cascade");
    other.psql("app", "truncate reports");
    // The names of one point do not mean the other server.
    let swapped = fixture.database_of("reports", &fixture.server.conninfo("app"));
    let error = restore(&point, &[&main, &swapped], &fixture.options(), &Silent).unwrap_err();
    assert_eq!(error.outcome(), Outcome::Refused, "{error:?}");
    restore(&point, &[&main, &reports], &fixture.options(), &Silent).unwrap();
    assert_eq!((fixture.server.dump("app"), other.dump("app")), before);
}

/// Rows 43 and 53.
#[test]
fn a_disk_of_the_server_that_fills_while_a_restore_loads_leaves_the_present_data() {
    if !is_root() {
        eprintln!("SKIPPED a_disk_of_the_server_that_fills: needs root to mount");
        return;
    }
    let dir = tempfile::Builder::new().prefix("ow-fills-").tempdir_in("/tmp").unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let fixture = Fixture::with("");
    let small = dir.path().join("small");
    std::fs::create_dir(&small).unwrap();
    let mounted = shapes::mounted(&small, "size=14m,mode=0755");
    let owned = std::process::Command::new("chown").arg("postgres").arg(&small).status().unwrap();
    assert!(owned.success());
    fixture
        .server
        .psql("postgres", &format!("create tablespace small location '{}'", small.display()));
    fixture.server.psql(
        "app",
        "create table kept as select i, md5(i::text) as t from generate_series(1, 500) i;
         create table big tablespace small as
           select i, repeat(md5(i::text), 30) as t from generate_series(1, 7500) i",
    );
    let before = fixture.server.dump("app");
    let database = fixture.database();
    let point = fixture.create(&database).unwrap();
    fixture.server.psql("app", "delete from kept where i > 10");
    let present = fixture.server.dump("app");
    let databases = fixture.databases();
    let error = fixture.restore(&point, &database).unwrap_err();
    assert!(details(&error).contains("No space left on device"), "{error:?}");
    assert_eq!(fixture.server.dump("app"), present, "the present data is touched");
    assert_eq!(fixture.databases(), databases, "something half loaded is left");
    let larger = ["-o", "remount,size=64m"];
    let remounted = std::process::Command::new("mount").args(larger).arg(&small).status().unwrap();
    assert!(remounted.success());
    fixture.restore(&point, &database).unwrap();
    assert_eq!(fixture.server.dump("app"), before);
    fixture.server.down();
    drop(mounted);
}
