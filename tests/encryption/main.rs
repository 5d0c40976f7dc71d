//! Encrypted restore points: nothing in clear on the disk, opened by the identity alone, and told
//! before the upgrade where nobody could open them.

#![allow(unreachable_pub, reason = "shared helpers are compiled into each test")]

#[path = "../support/mod.rs"]
mod support;

mod damaged;
mod identity;
mod in_place;
mod keys;
mod killed;
mod nothing_in_clear;
mod restoring;
