//! Every format both ways: openwatch goes on where the tool stopped, and the tool where openwatch did.

#![allow(unreachable_pub, reason = "the shared support module is public to every test binary")]

#[path = "../support/mod.rs"]
mod support;

mod chains;
mod rust_roads;
mod rust_tools;
#[expect(dead_code, reason = "not every test of formats is here yet")]
mod site;
