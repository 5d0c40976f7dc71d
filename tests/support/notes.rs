//! What a run says while it works, kept for the test.

use std::sync::Mutex;

use openwatch::progress::Progress;

/// Keeps steps, notes and warnings in their order.
#[derive(Default)]
pub struct Notes(Mutex<Vec<String>>);

impl Notes {
    /// Returns everything that was said, a line each.
    pub fn all(&self) -> String {
        self.0.lock().unwrap().join("\n")
    }
}

impl Progress for Notes {
    fn step(&self, text: &str) {
        self.note(text);
    }
    fn note(&self, text: &str) {
        self.0.lock().unwrap().push(text.to_owned());
    }
    fn warn(&self, text: &str) {
        self.note(text);
    }
    fn alive(&self, _: &str, _: u64, _: Option<u64>) {}
}
