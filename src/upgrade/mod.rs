//! The engine: what an upgrade is, step by step.
