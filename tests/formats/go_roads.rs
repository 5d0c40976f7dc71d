//! dbmate, goose and golang-migrate and openwatch take turns on one database, in both directions.

use openwatch::migrations::State;

use super::chains::{self, Step};
use super::go_tools::Tool;
use super::site::{Site, first_difference};

#[derive(Clone, Copy, Debug)]
enum Who {
    Tool,
    Openwatch,
}

/// Walks one road: each in turn gets the files up to its share and applies them.
fn walk(tool: Tool, dbname: &str, steps: &[Step], turns: &[Who]) -> Option<String> {
    let site = Site::new(tool.format(), dbname);
    for (index, who) in turns.iter().enumerate() {
        let share = &steps[..steps.len() * (index + 1) / turns.len()];
        for step in share {
            tool.write(&site, step);
        }
        match who {
            Who::Tool => tool.migrate(&site, share)?,
            Who::Openwatch => drop(site.apply().unwrap()),
        }
        let found = site.look();
        assert_eq!((found.state, found.problems.len()), (State::Current, 0), "{found:?}");
        assert_eq!(tool.pending(&site, share), [""; 0], "{dbname} after {who:?}");
    }
    Some(site.picture(tool.history_sql()))
}

/// All roads end in the database that the tool alone makes.
fn every_road_ends_in_one_database(tool: Tool, name: &str, steps: Option<Vec<Step>>) {
    use Who::{Openwatch, Tool as Theirs};
    let Some(steps) = steps else { return };
    let walk = |how: &str, turns: &[Who]| walk(tool, &format!("{name}_{how}"), &steps, turns);
    let Some(alone) = walk("theirs", &[Theirs]) else { return };
    for (how, turns) in [
        ("ours", &[Openwatch] as &[Who]),
        ("theirs_first", &[Theirs, Openwatch]),
        ("ours_first", &[Openwatch, Theirs]),
    ] {
        let other = walk(how, turns).unwrap();
        assert!(alone == other, "{name}, {how}: {}", first_difference(&alone, &other));
    }
}

/// A file with a transaction of its own ends that of the tool, which then fails.
fn without_own_transactions(steps: Vec<Step>) -> Option<Vec<Step>> {
    Some(steps.into_iter().filter(|step| !step.up.contains("COMMIT")).collect())
}

#[test]
fn dbmate_the_everyday_chain() {
    let steps = without_own_transactions(chains::everyday());
    every_road_ends_in_one_database(Tool::Dbmate, "dbmate_everyday", steps);
}

#[test]
fn dbmate_258_real_migrations() {
    every_road_ends_in_one_database(Tool::Dbmate, "dbmate_zksync", chains::zksync());
}

#[test]
fn goose_the_everyday_chain() {
    let steps = without_own_transactions(chains::everyday());
    every_road_ends_in_one_database(Tool::Goose, "goose_everyday", steps);
}

#[test]
fn goose_44_real_migrations_full_of_functions() {
    every_road_ends_in_one_database(Tool::Goose, "goose_procrastinate", chains::procrastinate());
}

#[test]
fn golang_migrate_the_everyday_chain() {
    let steps = Some(chains::everyday());
    every_road_ends_in_one_database(Tool::GolangMigrate, "golang_everyday", steps);
}

#[test]
fn golang_migrate_258_real_migrations() {
    every_road_ends_in_one_database(Tool::GolangMigrate, "golang_zksync", chains::zksync());
}
