//! A throw-away machine: a root of its own, a service manager made of files, real databases, and the
//! real program run on them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use assert_cmd::assert::Assert;
use serde_json::Value;

use super::postgres::{Server, wait_for};

/// The server that the tests of one binary share while any of them runs.
static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());

/// Name of the database that new ones are copied from: the base migrations are applied, with rows.
const TEMPLATE: &str = "ow_base";

/// Returns the server that the tests of this binary share.
pub fn shared() -> Arc<Server> {
    let mut slot = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    slot.upgrade().unwrap_or_else(|| {
        let server = Arc::new(Server::start());
        make_template(&server);
        *slot = Arc::downgrade(&server);
        server
    })
}

fn make_template(server: &Arc<Server>) {
    server.database(TEMPLATE);
    let machine = TestMachine::empty(Arc::clone(server), vec![("main".into(), TEMPLATE.into())])
        .without_systemd();
    machine.run(["migrate"]).success();
    server.psql(
        TEMPLATE,
        "insert into machines select n, 'machine ' || n from generate_series(1, 50) n;
         insert into readings select 1 + n % 50, '2026-01-01', n from generate_series(1, 500) n",
    );
}

/// The first migration of a database that is a file.
const FILE_BASE: &str = "\
create table users (id integer primary key, name text not null unique);
create table hosts (
  id integer primary key,
  user_id integer not null references users (id) on delete cascade,
  name text not null
);
";

/// Its rows.
const FILE_ROWS: &str = "\
with recursive n (i) as (select 1 union all select i + 1 from n where i < 50)
insert into users select i, 'user ' || i from n;
insert into hosts select id, id, 'host ' || id from users;
";

/// A machine with an application; version 2.0.0-1 is on disk, its schema is that of the base.
pub struct TestMachine {
    server: Arc<Server>,
    dir: tempfile::TempDir,
    app: String,
    databases: Vec<(String, String)>,
    /// Names of databases that are files.
    files: Vec<String>,
    role: String,
    dsn: Option<String>,
    within: Vec<String>,
    services: Vec<String>,
    app_lines: String,
    /// What stands in the braces of `migrations` of databases where it is not files.
    commands: BTreeMap<String, String>,
    /// What the connection strings end with.
    dsn_end: String,
    health: String,
    operator: String,
}

impl TestMachine {
    /// Returns a machine with one database and one running unit, and nothing pending.
    pub fn new() -> Self {
        Self::with_databases(&["main"])
    }

    /// Returns a machine with these databases, each at the base schema.
    pub fn with_databases(names: &[&str]) -> Self {
        let server = shared();
        let databases = names
            .iter()
            .map(|name| {
                let dbname = unused_name();
                server.psql(
                    "postgres",
                    &format!("create database {dbname} template {TEMPLATE} strategy wal_log"),
                );
                ((*name).to_owned(), dbname)
            })
            .collect();
        Self::empty(server, databases).with_unit("openwatch.service", "active")
    }

    /// Returns a machine with these databases on the server and these in files, each at its base
    /// schema and with rows.
    pub fn with_files(databases: &[&str], files: &[&str]) -> Self {
        let mut machine = Self::with_databases(databases);
        machine.files = files.iter().map(|name| (*name).to_owned()).collect();
        fs::create_dir_all(machine.dir.path().join("data")).unwrap();
        machine.write_configuration();
        for name in files {
            let dir = machine.migrations(name);
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join("0001_base.sql"), FILE_BASE).unwrap();
            fs::write(dir.join("0002_index.sql"), "create index by_name on hosts (name);\n")
                .unwrap();
        }
        machine.set_unit("openwatch.service", "inactive");
        machine.run(["migrate"]).success();
        machine.set_unit("openwatch.service", "active");
        for name in files {
            machine.query(name, FILE_ROWS);
        }
        machine.forget_calls();
        machine
    }

    fn set_unit(&self, name: &str, active: &str) {
        fs::write(self.dir.path().join("units").join(name).join("active"), active).unwrap();
    }

    /// Returns the path of a database that is a file.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("data/{name}.db"))
    }

    /// Runs statements in a database that is a file; returns the one answer of a `select`.
    pub fn query(&self, name: &str, sql: &str) -> String {
        let session = rusqlite::Connection::open(self.file(name)).unwrap();
        if !sql.starts_with("select") {
            session.execute_batch(sql).unwrap();
            return String::new();
        }
        let value = session.query_row(sql, [], |row| row.get::<_, rusqlite::types::Value>(0));
        match value.unwrap() {
            rusqlite::types::Value::Integer(number) => number.to_string(),
            rusqlite::types::Value::Text(text) => text,
            other => format!("{other:?}"),
        }
    }

    /// Ships one migration for this database.
    pub fn migration_for(self, name: &str, file: &str, sql: &str) -> Self {
        fs::write(self.migrations(name).join(file), sql).unwrap();
        self
    }

    /// Returns a machine whose database was made and never filled.
    pub fn with_empty_database() -> Self {
        let server = shared();
        let dbname = unused_name();
        server.database(&dbname);
        Self::empty(server, vec![("main".into(), dbname)]).with_unit("openwatch.service", "active")
    }

    /// Returns a machine on a server of its own, which the test may stop and start.
    pub fn with_own_server() -> Self {
        Self::on(Server::start())
    }

    /// Returns a machine on this server, which lets `postgres` in by its socket.
    pub fn on(server: Server) -> Self {
        let server = Arc::new(server);
        make_template(&server);
        let databases = vec![("main".to_owned(), TEMPLATE.to_owned())];
        Self::empty(server, databases).with_unit("openwatch.service", "active")
    }

    /// Returns another host with the same application on the same databases.
    pub fn beside(other: &Self) -> Self {
        Self::empty(Arc::clone(&other.server), other.databases.clone())
            .with_unit("openwatch.service", "active")
    }

    fn empty(server: Arc<Server>, databases: Vec<(String, String)>) -> Self {
        let dir = tempfile::Builder::new().prefix("ow-machine-").tempdir_in("/tmp").unwrap();
        let machine = Self {
            server,
            dir,
            app: "openwatch".into(),
            databases,
            files: Vec::new(),
            role: "postgres".into(),
            dsn: None,
            within: Vec::new(),
            services: vec!["openwatch.service".into()],
            app_lines: String::new(),
            commands: BTreeMap::new(),
            dsn_end: String::new(),
            health: "[[health]]\nunit = \"openwatch.service\"\nrequired = false\n\
                     deadline = \"500ms\"\n[[health]]\ncommand = [\"/bin/true\"]\n"
                .into(),
            operator: "database_wait = \"1s\"\nlock_timeout = \"2s\"\nreserve = \"0\"\n".into(),
        };
        for dir in ["usr/share/openwatch", "etc/openwatch/upgrade.conf.d", "run/systemd/system"] {
            fs::create_dir_all(machine.root().join(dir)).unwrap();
        }
        for dir in ["bin", "units", "hooks"] {
            fs::create_dir_all(machine.dir.path().join(dir)).unwrap();
        }
        // As the package makes them.
        fs::create_dir_all(machine.upgrade_dir()).unwrap();
        fs::create_dir_all(machine.backups()).unwrap();
        fs::set_permissions(machine.backups(), fs::Permissions::from_mode(0o700)).unwrap();
        let fake = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fakes/systemctl");
        fs::copy(fake, machine.dir.path().join("bin/systemctl")).unwrap();
        fs::write(machine.dir.path().join("calls"), "").unwrap();
        let unit = "openwatch-upgrade.service";
        fs::write(machine.dir.path().join("upgrade_unit"), unit).unwrap();
        fs::write(machine.dir.path().join("mark"), machine.mark().to_str().unwrap()).unwrap();
        let machine = machine.with_unit(unit, "inactive").with_hook("start", unit, RUN_THE_ENGINE);
        let unit = "openwatch-rollback.service";
        let machine =
            machine.with_unit(unit, "inactive").with_hook("start", unit, RUN_THE_ROLLBACK);
        let machine = machine.version("2.0.0-1");
        let names: Vec<String> = machine.databases.iter().map(|(name, _)| name.clone()).collect();
        for name in names {
            machine.copy_migrations(&name, "base");
        }
        machine.write_configuration();
        machine
    }

    fn write_configuration(&self) {
        let quoted: Vec<String> = self.services.iter().map(|name| format!("{name:?}")).collect();
        let mut text = format!("[app]\nservices = [{}]\n{}", quoted.join(", "), self.app_lines);
        let mut secrets = String::new();
        for (name, dbname) in &self.databases {
            let variable = format!("{}_DSN", name.to_uppercase());
            let files = format!("format = \"plain\", dir = {:?}", self.migrations(name));
            let command = self.commands.get(name).cloned();
            text.push_str(&format!(
                "[[database]]\nname = {name:?}\nurl_env = {variable:?}\n\
                 migrations = {{ {} }}\n",
                command.unwrap_or(files)
            ));
            let (host, port) = (self.server.socket().display(), self.server.port());
            let port = if port == 5432 { String::new() } else { format!(" port={port}") };
            let dsn =
                format!("host={host}{port} dbname={dbname} user={}{}", self.role, self.dsn_end);
            let dsn = self.dsn.clone().unwrap_or(dsn);
            secrets.push_str(&format!("{variable}=\"{dsn}\"\n"));
        }
        for name in &self.files {
            let files = format!("format = \"plain\", dir = {:?}", self.migrations(name));
            let command = self.commands.get(name).cloned().unwrap_or(files);
            text.push_str(&format!(
                "[[database]]\nname = {name:?}\nkind = \"sqlite\"\npath = {:?}\n\
                 migrations = {{ {command} }}\n",
                self.file(name)
            ));
        }
        text.push_str(&self.health);
        fs::write(self.packager_conf(), text).unwrap();
        fs::write(self.operator_conf(), &self.operator).unwrap();
        fs::write(self.secrets(), secrets).unwrap();
        fs::set_permissions(self.secrets(), fs::Permissions::from_mode(0o640)).unwrap();
    }

    // What the machine is.

    /// Ships another set of `tests/fixtures/migrations` for the first database.
    pub fn ship(self, set: &str) -> Self {
        let name = self.databases[0].0.clone();
        self.copy_migrations(&name, set);
        self
    }

    /// Ships another set for this database.
    pub fn ship_for(self, name: &str, set: &str) -> Self {
        self.copy_migrations(name, set);
        self
    }

    /// Ships another set for the first database of a machine that is in use.
    pub fn add_migrations(&self, set: &str) {
        self.copy_migrations(&self.databases[0].0, set);
    }

    /// Ships one migration for the first database.
    pub fn migration(self, file: &str, sql: impl AsRef<[u8]>) -> Self {
        fs::write(self.migrations("main").join(file), sql).unwrap();
        self
    }

    /// Puts this version on disk.
    pub fn version(self, version: &str) -> Self {
        fs::write(self.share().join("version"), format!("{version}\n")).unwrap();
        self
    }

    /// Adds a unit, or changes its state.
    pub fn with_unit(self, name: &str, active: &str) -> Self {
        let unit = self.dir.path().join("units").join(name);
        fs::create_dir_all(&unit).unwrap();
        fs::write(unit.join("active"), active).unwrap();
        fs::write(unit.join("pid"), "4242").unwrap();
        self
    }

    /// Lists these units as the application's, in stop order.
    pub fn services(mut self, names: &[&str]) -> Self {
        self.services = names.iter().map(|name| (*name).to_owned()).collect();
        self.write_configuration();
        self
    }

    /// Makes something else happen when a unit is started, stopped or restarted.
    pub fn with_hook(self, verb: &str, unit: &str, script: &str) -> Self {
        let program = program().display();
        let script = format!("program={program}\n{script}");
        fs::write(self.dir.path().join(format!("hooks/{verb}.{unit}")), script).unwrap();
        self
    }

    /// Sets one fact that the service manager knows of a unit, such as `load` to `masked`.
    pub fn unit_fact(self, unit: &str, fact: &str, value: &str) -> Self {
        fs::write(self.dir.path().join("units").join(unit).join(fact), value).unwrap();
        self
    }

    /// Adds lines to `[app]`.
    pub fn app_line(mut self, line: &str) -> Self {
        self.app_lines.push_str(line);
        self.app_lines.push('\n');
        self.write_configuration();
        self
    }

    /// Migrates the first database by a command: what stands in the braces of `migrations`.
    pub fn migrated_by(self, braces: &str) -> Self {
        let first = self.databases[0].0.clone();
        self.migrated_by_for(&first, braces)
    }

    /// The same for this database.
    pub fn migrated_by_for(mut self, name: &str, braces: &str) -> Self {
        self.commands.insert(name.into(), braces.into());
        self.write_configuration();
        self
    }

    /// Migrates the first database by a shell script, which is called with one word: `apply` or
    /// `status`, and has a function `sql`. `more` is the rest of the configuration.
    pub fn tool(self, script: &str, more: &str) -> Self {
        let first = self.databases[0].0.clone();
        self.tool_for(&first, script, more)
    }

    /// The same for this database.
    pub fn tool_for(self, name: &str, script: &str, more: &str) -> Self {
        let path = self.dir.path().join(if name == "main" {
            "tool".into()
        } else {
            format!("tool-{name}")
        });
        let psql = self.server.bin().join("psql");
        let psql = psql.display();
        let text = format!(
            "#!/bin/sh\nsql() {{ {psql} -X -A -t -q -v ON_ERROR_STOP=1 -c \"$1\"; }}\n{script}\n"
        );
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        // Others than root come here too.
        fs::set_permissions(self.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let path = path.display();
        self.migrated_by_for(
            name,
            &format!(
                "command = [\"{path}\", \"apply\"], status_command = [\"{path}\", \"status\"]{more}"
            ),
        )
    }

    /// Adds keywords to the connection string.
    pub fn dsn_end(mut self, text: &str) -> Self {
        self.dsn_end = format!(" {text}");
        self.write_configuration();
        self
    }

    /// Replaces the probes.
    pub fn health(mut self, text: &str) -> Self {
        self.health = text.into();
        self.write_configuration();
        self
    }

    /// Adds a line to the operator's file.
    pub fn operator(mut self, line: &str) -> Self {
        self.operator = format!("{line}\n{}", self.operator);
        self.write_configuration();
        self
    }

    /// Takes the operator's lines that begin with this away.
    pub fn operator_without(mut self, start: &str) -> Self {
        let kept: Vec<&str> = self.operator.lines().filter(|l| !l.starts_with(start)).collect();
        self.operator = kept.join("\n") + "\n";
        self.write_configuration();
        self
    }

    /// Adds a table at the end of the operator's file.
    pub fn operator_end(mut self, text: &str) -> Self {
        self.operator = format!("{}{text}\n", self.operator);
        self.write_configuration();
        self
    }

    /// Connects as this role.
    pub fn role(mut self, role: &str) -> Self {
        self.role = role.into();
        self.write_configuration();
        self
    }

    /// Connects as a role that owns the first database and what is in it, and may make no other: a restore
    /// replaces the content in place.
    pub fn in_place(self) -> Self {
        let (name, role) = (self.dbname().to_owned(), format!("owner_{}", self.dbname()));
        self.sql(&format!("create role {role} login"));
        self.sql(&format!(
            "alter database {name} owner to {role}; alter schema public owner to {role}"
        ));
        for table in ["machines", "readings", "openwatch_schema_history"] {
            self.sql(&format!("alter table {table} owner to {role}"));
        }
        self.role(&role)
    }

    /// Connects to the first database by other parameters than the server's socket.
    pub fn dsn(mut self, dsn: &str) -> Self {
        self.dsn = Some(dsn.into());
        self.write_configuration();
        self
    }

    /// Runs the program by means of another one, such as inside a network of its own.
    pub fn within(mut self, words: &[String]) -> Self {
        self.within = words.to_vec();
        self
    }

    /// Takes the running systemd away: a chroot, an image build.
    pub fn without_systemd(self) -> Self {
        fs::remove_dir_all(self.root().join("run/systemd")).unwrap();
        self
    }

    /// Boots: systemd is there.
    pub fn boot(&self) {
        fs::create_dir_all(self.root().join("run/systemd/system")).unwrap();
    }

    /// Writes the pending mark as a package's script does.
    pub fn marked(self, family: Option<&str>, running: &[&str]) -> Self {
        let mark = serde_json::json!({
            "from": "1.0.0-1", "to": "2.0.0-1", "family": family,
            "since": "2026-11-20T13:15:02Z", "running": running,
        });
        fs::write(self.mark(), mark.to_string()).unwrap();
        self
    }

    // Where things are.

    pub fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }
    pub fn share(&self) -> PathBuf {
        self.root().join("usr/share/openwatch")
    }
    pub fn etc(&self) -> PathBuf {
        self.root().join("etc/openwatch")
    }
    pub fn packager_conf(&self) -> PathBuf {
        self.share().join("upgrade.conf")
    }
    pub fn operator_conf(&self) -> PathBuf {
        self.etc().join("upgrade.conf")
    }
    pub fn secrets(&self) -> PathBuf {
        self.etc().join("secrets.env")
    }
    pub fn backups(&self) -> PathBuf {
        self.root().join("var/lib/openwatch/backups")
    }
    pub fn upgrade_dir(&self) -> PathBuf {
        self.root().join("var/lib/openwatch/upgrade")
    }
    pub fn mark(&self) -> PathBuf {
        self.upgrade_dir().join("pending")
    }
    pub fn lock(&self) -> PathBuf {
        self.root().join("run/openwatch/upgrade.lock")
    }
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
    pub fn server(&self) -> &Arc<Server> {
        &self.server
    }

    /// Returns the directory with the migrations of a database.
    pub fn migrations(&self, name: &str) -> PathBuf {
        let dir = if name == "main" { "migrations".into() } else { format!("migrations-{name}") };
        self.share().join(dir)
    }

    /// Returns the name on the server of the first database.
    pub fn dbname(&self) -> &str {
        &self.databases[0].1
    }

    /// Returns the name on the server of a database.
    pub fn dbname_of(&self, name: &str) -> &str {
        &self.databases.iter().find(|(own, _)| own == name).unwrap().1
    }

    /// Returns how messages name a database.
    pub fn described(&self, name: &str) -> String {
        format!("database {} at {}", self.dbname_of(name), self.server.socket().display())
    }

    // Acts.

    fn copy_migrations(&self, name: &str, set: &str) {
        let to = self.migrations(name);
        fs::create_dir_all(&to).unwrap();
        let from =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/migrations").join(set);
        for entry in fs::read_dir(from).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
        }
    }

    /// Returns the arguments that mean this machine, before those of the call.
    fn words<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> Vec<String> {
        let root = self.root().display().to_string();
        let own = ["--root".to_owned(), root];
        own.into_iter().chain(words.into_iter().map(str::to_owned)).collect()
    }

    /// Returns the search path in which the service manager made of files comes first.
    pub fn path(&self) -> String {
        let path = std::env::var("PATH").unwrap();
        format!("{}:{path}", self.dir.path().join("bin").display())
    }

    fn environment(&self) -> Vec<(String, String)> {
        vec![("PATH".into(), self.path()), ("HOME".into(), self.dir.path().display().to_string())]
    }

    /// Prepares a call of the program.
    pub fn command<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> std::process::Command {
        let mut all: Vec<std::ffi::OsString> = self.within.iter().map(Into::into).collect();
        all.push(program().into());
        let mut command = std::process::Command::new(&all[0]);
        command.args(&all[1..]).env_clear().envs(self.environment()).args(self.words(words));
        command
    }

    /// Runs the program to its end.
    pub fn run<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> Assert {
        let mut command = assert_cmd::Command::from_std(self.command(words));
        command.timeout(Duration::from_secs(120)).assert()
    }

    /// Runs the program with a variable in its environment and text on its standard input.
    pub fn run_told<'a>(
        &self,
        words: impl IntoIterator<Item = &'a str>,
        (name, value): (&str, &str),
        input: &str,
    ) -> Assert {
        let mut command = self.command(words);
        command.env(name, value);
        let mut command = assert_cmd::Command::from_std(command);
        command.write_stdin(input).timeout(Duration::from_secs(120)).assert()
    }

    /// Runs the program and returns its one JSON object, with the exit status.
    pub fn json<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> (i32, Value) {
        let assert = self.run(words.into_iter().chain(["--json"]));
        let output = assert.get_output();
        let value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
            panic!("not one JSON object: {error}\n{}", String::from_utf8_lossy(&output.stdout))
        });
        (output.status.code().unwrap(), value)
    }

    /// Starts the program and returns at once.
    pub fn spawn<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> Child {
        self.command(words)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(self.dir.path().join("stderr")).unwrap())
            .spawn()
            .unwrap()
    }

    /// Returns what the spawned program said.
    pub fn said(&self) -> String {
        fs::read_to_string(self.dir.path().join("stderr")).unwrap()
    }

    /// Runs SQL in the first database.
    pub fn sql(&self, sql: &str) -> String {
        self.server.psql(self.dbname(), sql)
    }

    /// Forgets what the service manager was asked so far.
    pub fn forget_calls(&self) {
        fs::write(self.dir.path().join("calls"), "").unwrap();
    }

    // What is true now.

    /// Returns what the service manager was asked to do, without the questions.
    pub fn acts(&self) -> Vec<String> {
        let text = fs::read_to_string(self.dir.path().join("calls")).unwrap();
        let question = |line: &&str| {
            ["show ", "reset-failed ", "list-jobs "].iter().any(|verb| line.starts_with(verb))
        };
        text.lines().filter(|l| !question(l)).map(|line| line.replace(" --", "")).collect()
    }

    /// Returns the state of a unit.
    pub fn unit(&self, name: &str) -> String {
        let path = self.dir.path().join("units").join(name).join("active");
        fs::read_to_string(path).unwrap().trim().to_owned()
    }

    /// Returns the data of every database, to compare.
    pub fn data(&self) -> Vec<String> {
        self.databases.iter().map(|(_, dbname)| self.server.dump(dbname)).collect()
    }

    /// Returns the newest applied version of the first database.
    pub fn schema(&self) -> String {
        self.sql("select max(version) from openwatch_schema_history")
    }

    /// Returns the names of finished restore points, oldest first.
    pub fn points(&self) -> Vec<String> {
        self.entries().into_iter().filter(|name| !name.starts_with('.')).collect()
    }

    /// Returns what lies in the backup directory beside finished restore points.
    pub fn leftovers(&self) -> Vec<String> {
        self.entries().into_iter().filter(|name| name.starts_with('.')).collect()
    }

    fn entries(&self) -> Vec<String> {
        let entries = fs::read_dir(self.backups()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Returns the journal, where there is one.
    pub fn journal(&self) -> Value {
        let path = self.upgrade_dir().join("journal.json");
        fs::read(path).ok().and_then(|t| serde_json::from_slice(&t).ok()).unwrap_or(Value::Null)
    }

    /// Returns the journal's marks as `step begun` and `step done`.
    pub fn marks(&self) -> Vec<String> {
        let marks = self.journal()["marks"].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        marks.iter().map(|m| format!("{} {}", text(&m["step"]), text(&m["when"]))).collect()
    }

    /// Waits until the journal has a mark.
    pub fn wait_for_mark(&self, mark: &str) {
        wait_for(&format!("journal mark {mark}"), || self.marks().iter().any(|m| m == mark));
    }

    /// Returns every file below the root with its mode and content; two equal trees are unchanged.
    pub fn tree(&self) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
        tree(&self.root())
    }

    /// Asserts that nothing of a run is left open.
    #[track_caller]
    pub fn assert_clean(&self) {
        assert!(!self.mark().exists(), "the gate is closed");
        assert_eq!(self.leftovers(), [""; 0], "something is left in the backup directory");
        self.assert_orderly();
        let journal = self.journal();
        assert!(journal.is_null() || journal["outcome"] == "ok", "{journal}");
    }

    /// Asserts that the gate is closed and that no unit of the application runs.
    #[track_caller]
    pub fn assert_closed(&self) {
        assert!(self.mark().exists(), "the gate is open");
        for unit in &self.services {
            assert_ne!(self.unit(unit), "active", "{unit} runs");
        }
        self.assert_orderly();
    }

    /// Asserts that the service manager was asked nothing strange and that nobody holds the lock.
    #[track_caller]
    pub fn assert_orderly(&self) {
        let acts = self.acts();
        let strange = |line: &&String| line.starts_with("REFUSED") || line.starts_with("GATED");
        assert_eq!(acts.iter().find(strange), None, "{acts:?}");
        if let Ok(lock) = fs::File::open(self.lock()) {
            assert!(lock.try_lock().is_ok(), "the lock is still held");
        }
    }
}

/// What `openwatch-rollback.service` is: runs where the order is.
const RUN_THE_ROLLBACK: &str = r#"
[ -e "$root/var/lib/openwatch/upgrade/rollback" ] || exit 0
"$program" --root "$root" rollback --unit >/dev/null 2>&1
code=$?
echo $code >"$here/units/$unit/status"
case $code in
    0) echo inactive >"$here/units/$unit/active" ;;
    *) echo failed >"$here/units/$unit/active"; exit 1 ;;
esac
"#;

/// What `openwatch-upgrade.service` is: runs where the mark is, ends with the engine's exit status.
const RUN_THE_ENGINE: &str = r#"
[ -e "$(cat "$here/mark")" ] || exit 0
"$program" --root "$root" upgrade --unit >/dev/null 2>&1
code=$?
echo $code >"$here/units/$unit/status"
case $code in
    0) echo inactive >"$here/units/$unit/active" ;;
    4) echo activating >"$here/units/$unit/active"; exit 1 ;;
    *) echo failed >"$here/units/$unit/active"; exit 1 ;;
esac
"#;

/// Returns the program under test: the one that was built, or `OPENWATCH_TEST_PROGRAM`, such as the
/// one that a package brings.
pub fn program() -> &'static Path {
    static GIVEN: OnceLock<Option<PathBuf>> = OnceLock::new();
    let given = GIVEN.get_or_init(|| std::env::var_os("OPENWATCH_TEST_PROGRAM").map(PathBuf::from));
    given.as_deref().unwrap_or_else(|| assert_cmd::cargo::cargo_bin!("openwatch"))
}

/// Returns every file below a directory with its mode and content.
pub fn tree(dir: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let data = fs::symlink_metadata(&path).unwrap();
            let content = if data.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
            if data.is_dir() {
                todo.push(path.clone());
            }
            found.insert(path, (data.permissions().mode(), content));
        }
    }
    found
}

/// A failure as the operator reads it.
#[derive(Debug)]
pub struct Message {
    pub first: String,
    pub detail: String,
    pub state: String,
    pub hint: String,
}

/// Returns the four parts of the failure that a run printed last.
pub fn message(assert: &Assert) -> Message {
    parse_message(&String::from_utf8_lossy(&assert.get_output().stderr))
}

/// Returns the four parts of the last failure in this text.
pub fn parse_message(text: &str) -> Message {
    let lines: Vec<&str> = text.lines().collect();
    let told = |line: &&str| line.starts_with("openwatch: ") && !line.contains(": warning: ");
    let start = lines.iter().rposition(told).unwrap_or_else(|| panic!("no message in:\n{text}"));
    let mut parts: BTreeMap<&str, String> = BTreeMap::new();
    let mut part = "";
    for line in &lines[start + 1..] {
        let known = ["detail", "state", "hint"].into_iter().find(|name| {
            line.strip_prefix("  ")
                .and_then(|l| l.strip_prefix(name))
                .is_some_and(|l| l.starts_with(':'))
        });
        let text = match known {
            Some(name) => {
                part = name;
                &line[3 + name.len()..]
            }
            None => line,
        };
        let whole = parts.entry(part).or_default();
        *whole = format!("{whole}\n{}", text.trim()).trim().to_owned();
    }
    let take = |name: &str| parts.get(name).cloned().unwrap_or_default();
    Message {
        first: lines[start]["openwatch: ".len()..].to_owned(),
        detail: take("detail"),
        state: take("state"),
        hint: take("hint"),
    }
}

fn unused_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("app_{}", NEXT.fetch_add(1, Ordering::Relaxed))
}
