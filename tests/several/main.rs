//! One upgrade of several services and databases, and what it is compared with: the baseline.

#[path = "../support/mod.rs"]
mod support;

mod baseline;
mod catalogue;
mod three;
mod together;
