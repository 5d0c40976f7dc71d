//! The way back: data and program of the version before, together.

pub mod present;
