//! Every format both ways: openwatch goes on where the tool stopped, and the tool where openwatch did.

#![allow(unreachable_pub, reason = "the shared support module is public to every test binary")]

#[path = "../support/mod.rs"]
mod support;

mod chains;
mod diesel;
mod refinery;
mod rust_roads;
mod rust_tools;
mod site;
mod sqlx;
