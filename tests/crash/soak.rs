//! Upgrades and ways back in a row, while the application writes: its process notes every row that
//! the server has acknowledged, and each of them is looked for after every step.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::facts::finish;
use super::support::machine::TestMachine;
use super::support::postgres::wait_for;

/// How many rounds the usual run takes; `OPENWATCH_SOAK=N` takes N. A round goes forth and back.
const ROUNDS: usize = 3;

/// How many rows are waited for under each version.
const ROWS: usize = 3;

/// The application: it writes until it is ended, never the same number twice. Ended between making a
/// file empty and writing it, it would begin at 1 again.
const CLIENT: &str = r#"
number=$(cat "$here/number" 2>/dev/null || echo 0)
while :; do
    number=$((number + 1))
    echo $number >"$here/number.new" && mv "$here/number.new" "$here/number"
    write_row "insert into written values ($number)" && echo $number >>"$here/acknowledged"
done
"#;

/// Its end, as sudden as any, and its start.
const STOP: &str = r#"
if [ -e "$here/client.pid" ]; then
    kill -9 -"$(cat "$here/client.pid")" 2>/dev/null
    while kill -0 -"$(cat "$here/client.pid")" 2>/dev/null; do sleep 0.02; done
    rm "$here/client.pid"
fi
"#;
const START: &str = r#"
setsid sh "$here/client" >/dev/null 2>&1 </dev/null &
echo $! >"$here/client.pid"
"#;

struct Soak {
    machine: TestMachine,
    /// Rows that a way back took out of the live database: each was found in the former one.
    set_aside: BTreeMap<u64, String>,
    upgrades: usize,
    ways_back: usize,
}

impl Drop for Soak {
    fn drop(&mut self) {
        self.systemctl("stop");
    }
}

impl Soak {
    fn begin() -> Self {
        let machine = TestMachine::new()
            .version("1.0.0-1")
            .operator("backup_keep = 1")
            .with_unit("openwatch.service", "inactive")
            .with_hook("stop", "openwatch.service", STOP)
            .with_hook("start", "openwatch.service", START)
            .with_hook("restart", "openwatch.service", &format!("{STOP}{START}"));
        machine.sql("create table written (id bigint)");
        let conninfo = machine.server().conninfo(machine.dbname());
        let psql = machine.server().bin().join("psql");
        let text = format!(
            "here='{}'\nwrite_row() {{ {} -X -q -d '{conninfo}' -c \"$1\"; }}\n{CLIENT}",
            machine.dir().display(),
            psql.display()
        );
        fs::write(machine.dir().join("client"), text).unwrap();
        let soak = Self { machine, set_aside: BTreeMap::new(), upgrades: 0, ways_back: 0 };
        soak.systemctl("start");
        soak
    }

    fn systemctl(&self, verb: &str) {
        let program = self.machine.dir().join("bin/systemctl");
        let done = Command::new(program).args([verb, "openwatch.service"]).status().unwrap();
        assert!(done.success());
    }

    fn acknowledged(&self) -> Vec<u64> {
        let text = fs::read_to_string(self.machine.dir().join("acknowledged")).unwrap_or_default();
        // The last line may be half written; its row counts from the next look on.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| line.parse().unwrap()).collect()
    }

    fn more_rows(&self, what: &str) {
        let before = self.acknowledged().len();
        wait_for(what, || self.acknowledged().len() >= before + ROWS);
    }

    fn numbers(&self, dbname: &str) -> Vec<u64> {
        let all = self.machine.server().psql(dbname, "select id from written order by id");
        all.lines().map(|line| line.parse().unwrap()).collect()
    }

    /// None lost, none double.
    fn check(&self, place: &str) {
        let acknowledged = self.acknowledged();
        let there = self.numbers(self.machine.dbname());
        for pair in there.windows(2) {
            assert!(pair[0] != pair[1], "{place}: row {} is there twice", pair[0]);
        }
        for number in acknowledged {
            let known =
                there.binary_search(&number).is_ok() || self.set_aside.contains_key(&number);
            assert!(known, "{place}: row {number} was acknowledged and is lost");
        }
    }

    fn shipped(&self, file: &str) -> PathBuf {
        self.machine.migrations("main").join(file)
    }

    /// The new version comes, and the application writes under it.
    fn forth(&mut self) {
        self.machine.add_migrations("good");
        fs::write(self.machine.share().join("version"), "2.0.0-1\n").unwrap();
        finish(&self.machine, &words("upgrade --from 1.0.0-1"), 0);
        self.upgrades += 1;
        self.check("after the upgrade");
        self.more_rows("rows under the new version");
    }

    /// A version that cannot work comes first, and the data is put back by itself.
    fn fails(&mut self) {
        self.machine.add_migrations("good");
        let broken = "-- openwatch: no-transaction\nSELECT 1 / 0;\n";
        fs::write(self.shipped("0005_divides.sql"), broken).unwrap();
        fs::write(self.machine.share().join("version"), "1.9.0-1\n").unwrap();
        let conf = self.machine.etc().join("upgrade.conf.d/50-restore.conf");
        fs::write(&conf, "on_failure = \"restore\"\n").unwrap();
        finish(&self.machine, &words("upgrade --from 1.0.0-1"), 9);
        self.ways_back += 1;
        assert_eq!(self.machine.schema(), "0002");
        self.machine.assert_closed();
        self.drop_replaced("after a failure");
        self.check("after a failure");
        fs::remove_file(self.shipped("0005_divides.sql")).unwrap();
        fs::remove_file(conf).unwrap();
    }

    /// The operator goes back after the new version has accepted writes: they are in the former
    /// database, which the restore keeps.
    fn back(&mut self) {
        let newest = self.machine.points().pop().unwrap();
        self.systemctl("stop");
        self.check("before the restore");
        finish(&self.machine, &words(&format!("restore {newest} --yes --no-copy")), 0);
        self.ways_back += 1;
        self.drop_replaced("after the restore");
        self.check("after the restore");
        for file in ["0003_owner.sql", "0004_index_readings.sql"] {
            fs::remove_file(self.shipped(file)).unwrap();
        }
        fs::write(self.machine.share().join("version"), "1.0.0-1\n").unwrap();
        finish(&self.machine, &words("upgrade --retry"), 0);
        self.machine.run(["gate"]).success();
        if self.machine.unit("openwatch.service") != "active" {
            self.systemctl("start");
        }
        self.more_rows("rows under the old version");
    }

    /// Looks into the former databases, remembers what only they have, and drops them.
    fn drop_replaced(&mut self, place: &str) {
        let name = self.machine.dbname().to_owned();
        let sql = format!(
            "select datname from pg_database where starts_with(datname, '{name}_replaced_')"
        );
        let former = self.machine.server().psql("postgres", &sql);
        assert!(!former.is_empty(), "{place}: no former database");
        let live = self.numbers(&name);
        for former in former.lines() {
            let allow = format!("alter database \"{former}\" allow_connections true");
            self.machine.server().psql("postgres", &allow);
            for number in self.numbers(former) {
                if live.binary_search(&number).is_err() {
                    self.set_aside.insert(number, former.to_owned());
                }
            }
            self.machine.server().psql("postgres", &format!("drop database \"{former}\""));
        }
    }
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

/// Rows 53, 57, 60 and 67.
#[test]
fn no_acknowledged_row_is_lost_or_doubled_by_upgrades_and_ways_back_in_a_row() {
    let rounds = std::env::var("OPENWATCH_SOAK").map_or(ROUNDS, |n| n.parse().unwrap());
    let mut soak = Soak::begin();
    soak.more_rows("the first rows");
    for round in 0..rounds {
        if round % 3 == 1 {
            soak.fails();
        }
        soak.forth();
        soak.back();
        finish(&soak.machine, &words("backup prune"), 0);
        if (round + 1) % 20 == 0 {
            println!("soak: {} rounds, {} rows", round + 1, soak.acknowledged().len());
        }
    }
    soak.systemctl("stop");
    soak.check("at the end");
    println!(
        "soak: {} upgrades, {} ways back, {} rows acknowledged, {} of them in former databases, \
         0 lost, 0 double",
        soak.upgrades,
        soak.ways_back,
        soak.acknowledged().len(),
        soak.set_aside.len()
    );
}
