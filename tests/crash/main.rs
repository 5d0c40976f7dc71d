//! The program is ended, or a call of it fails, at every point at which it changes anything: what is
//! there afterwards is the old or the new, and one command finishes.
//!
//! How points are found, and why so: docs/design/0025. Every k-th is tried in the usual run;
//! `ci/crash` tries all of them with the release program and prints the sums.

#![allow(unreachable_pub, reason = "the shared support module is public to every test binary")]
#![cfg(target_arch = "x86_64")]

#[path = "../support/mod.rs"]
mod support;

mod facts;
mod faults;
mod matrix;
mod order;
mod prune;
mod restore;
mod soak;
mod tracer;
mod upgrade;
