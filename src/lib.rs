//! OpenWatch makes one `dnf update` or `apt upgrade` safe for an application that keeps its data in
//! PostgreSQL: restore point taken, schema migrated, services back, health proved; and if anything
//! goes wrong, the data is safe, nothing runs on the wrong schema, and one printed command leads out.
//!
//! Layers, each importing only from those below it (`tests/architecture.rs`):
//!
//! | Layer | Rooms | Task |
//! |---|---|---|
//! | 5 | `cli` | parse, dispatch, print, exit code |
//! | 4 | `commands` | one file per verb that a user can type |
//! | 3 | `upgrade` | the engine, one file per step |
//! | 2 | `migrations`, `restore_points`, `services`, `health`, `notify` | capabilities |
//! | 1 | `config`, `layout`, `package`, `version`, `database`, `disk` | facts about the machine |
//! | 0 | `system`, `progress`, `error`, `outcome` | the one door each |

#![warn(
    unreachable_pub,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr
)]
#![cfg_attr(test, allow(clippy::disallowed_methods))]

pub mod cli;

pub mod commands;

pub mod upgrade;

pub mod health;
pub mod migrations;
pub mod notify;
pub mod restore_points;
pub mod services;

pub mod config;
pub mod database;
pub mod disk;
pub mod layout;
pub mod package;
pub mod sqlite;
pub mod version;

pub mod error;
pub mod outcome;
pub mod progress;
pub mod system;
