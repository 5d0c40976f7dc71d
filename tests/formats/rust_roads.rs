//! sqlx, diesel and refinery and openwatch take turns on one database, in both directions: whoever
//! begins and whoever ends, it is the same database in the end, and neither finds anything pending.

use openwatch::migrations::State;

use super::chains::{self, Step};
use super::rust_tools::{Real, Tool};
use super::site::{Site, first_difference};

/// A database, a directory of migrations, and the tool that they belong to.
pub struct Road {
    pub site: Site,
    pub tool: Tool,
    program: std::path::PathBuf,
}

impl Road {
    /// `None` where the tool is not there.
    pub fn new(tool: Tool, dbname: &str) -> Option<Self> {
        let program = tool.program()?;
        Some(Self { site: Site::new(tool.format(), dbname), tool, program })
    }

    pub fn ship(&self, steps: &[Step]) -> &Self {
        for step in steps {
            self.tool.write(self.site.dir.path(), step);
        }
        self
    }

    pub fn real(&self) -> Real<'_> {
        Real {
            tool: self.tool,
            program: self.program.clone(),
            server: &self.site.server,
            dbname: &self.site.dbname,
            dir: self.site.dir.path(),
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Who {
    Tool,
    Openwatch,
}

/// Walks one road: each in turn gets the files up to its share and applies them.
fn walk(tool: Tool, dbname: &str, steps: &[Step], turns: &[Who]) -> Option<String> {
    let road = Road::new(tool, dbname)?;
    for (index, who) in turns.iter().enumerate() {
        road.ship(&steps[..steps.len() * (index + 1) / turns.len()]);
        match who {
            Who::Tool => {
                drop(road.real().migrate().unwrap_or_else(|said| panic!("{dbname}: {said}")))
            }
            Who::Openwatch => drop(road.site.apply().unwrap()),
        }
        let found = road.site.look();
        assert_eq!((found.state, found.problems.len()), (State::Current, 0), "{found:?}");
        assert_eq!(road.real().pending(), [""; 0], "{dbname} after {who:?}");
    }
    Some(road.site.picture(tool.history_sql()))
}

/// All roads end in the database that the tool alone makes.
fn every_road_ends_in_one_database(tool: Tool, name: &str, steps: Option<Vec<Step>>) {
    use Who::{Openwatch, Tool as Theirs};
    let Some(steps) = steps else { return };
    let walk = |how: &str, turns: &[Who]| walk(tool, &format!("{name}_{how}"), &steps, turns);
    let Some(alone) = walk("theirs", &[Theirs]) else { return };
    let roads = [
        ("ours", &[Openwatch] as &[Who]),
        ("theirs_first", &[Theirs, Openwatch]),
        ("ours_first", &[Openwatch, Theirs]),
        ("turns", &[Theirs, Openwatch, Theirs, Openwatch, Theirs]),
    ];
    // Turns are for the short chain: each costs two starts of the tool.
    let roads = if steps.len() < 30 { &roads[..] } else { &roads[..3] };
    for (how, turns) in roads {
        let other = walk(how, turns).unwrap();
        assert!(alone == other, "{name}, {how}: {}", first_difference(&alone, &other));
    }
}

fn for_transactions(steps: Vec<Step>) -> Vec<Step> {
    steps.into_iter().filter(|step| !step.alone).collect()
}

#[test]
fn sqlx_the_everyday_chain() {
    every_road_ends_in_one_database(Tool::Sqlx, "sqlx_everyday", Some(chains::everyday()));
}

#[test]
fn sqlx_258_real_migrations() {
    every_road_ends_in_one_database(Tool::Sqlx, "sqlx_zksync", chains::zksync());
}

#[test]
fn sqlx_38_real_migrations_full_of_functions() {
    every_road_ends_in_one_database(Tool::Sqlx, "sqlx_procrastinate", chains::procrastinate());
}

#[test]
fn diesel_the_everyday_chain() {
    // It stops at a file of comments ("Received an empty query") and at a COMMIT.
    let mut steps = chains::everyday();
    steps.retain(|step| !["nothing", "wrapped"].contains(&step.name.as_str()));
    every_road_ends_in_one_database(Tool::Diesel, "diesel_everyday", Some(steps));
}

#[test]
fn diesel_220_real_migrations_some_outside_transactions() {
    every_road_ends_in_one_database(Tool::Diesel, "diesel_litellm", chains::litellm());
}

#[test]
fn diesel_38_real_migrations_full_of_functions() {
    every_road_ends_in_one_database(Tool::Diesel, "diesel_procrastinate", chains::procrastinate());
}

#[test]
fn refinery_the_everyday_chain() {
    let steps = for_transactions(chains::everyday());
    every_road_ends_in_one_database(Tool::Refinery, "refinery_everyday", Some(steps));
}

#[test]
fn refinery_real_migrations() {
    let steps = chains::litellm().map(for_transactions);
    every_road_ends_in_one_database(Tool::Refinery, "refinery_litellm", steps);
}

#[test]
fn refinery_with_8_byte_versions_258_real_migrations() {
    every_road_ends_in_one_database(Tool::RefineryInt8, "refinery_zksync", chains::zksync());
}
