//! What the integration tests share: a private PostgreSQL, a throw-away root.
#![allow(dead_code, reason = "each test binary uses its own part")]

pub mod archives;
pub mod browser;
pub mod machine;
pub mod network;
pub mod notes;
pub mod packages;
pub mod peers;
pub mod postgres;
pub mod proxy;
