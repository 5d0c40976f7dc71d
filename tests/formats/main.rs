//! Every format both ways: openwatch goes on where the tool stopped, and the tool where openwatch did.

#![allow(unreachable_pub, reason = "the shared support module is public to every test binary")]

#[path = "../support/mod.rs"]
mod support;

mod chains;
mod dbmate;
mod detection;
mod diesel;
mod go_roads;
mod go_tools;
mod golang_migrate;
mod goose;
mod refinery;
mod rust_roads;
mod rust_tools;
mod site;
mod sqlx;
