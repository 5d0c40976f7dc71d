//! Writes man pages and completions into a directory: `cargo run --example assets -- DIR`.

fn main() {}
