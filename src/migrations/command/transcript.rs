//! What a tool printed: told as it comes, up to a limit; the end is kept for messages.

use std::collections::VecDeque;

use crate::progress::Progress;

/// How many lines are told; what comes after them is counted.
const TOLD: usize = 2000;

/// How many of the last lines are kept.
const KEPT: usize = 15;

/// The output of one run.
pub(super) struct Transcript<'a> {
    progress: &'a dyn Progress,
    count: usize,
    end: VecDeque<String>,
}

impl<'a> Transcript<'a> {
    pub(super) fn new(progress: &'a dyn Progress) -> Self {
        Self { progress, count: 0, end: VecDeque::with_capacity(KEPT) }
    }

    /// Takes a line as it may be shown.
    pub(super) fn add(&mut self, line: &str) {
        if line.is_empty() {
            return;
        }
        self.count += 1;
        if self.count <= TOLD {
            self.progress.note(line);
        } else if self.count == TOLD + 1 {
            self.progress.note("more output follows, which is not shown; its end is kept");
        }
        if self.end.len() == KEPT {
            self.end.pop_front();
        }
        self.end.push_back(line.to_owned());
    }

    /// Returns the last line.
    pub(super) fn last(&self) -> Option<&str> {
        self.end.back().map(String::as_str)
    }

    /// Returns the last lines, in their order; tells how many were not told.
    pub(super) fn finish(self) -> Vec<String> {
        let untold = self.count.saturating_sub(TOLD);
        if untold > 0 {
            self.progress.note(&format!("{untold} lines were not shown; the last ones were:"));
            self.end.iter().for_each(|line| self.progress.note(line));
        }
        self.end.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[derive(Default)]
    struct Told(Mutex<Vec<String>>);

    impl Progress for Told {
        fn step(&self, _: &str) {}
        fn note(&self, text: &str) {
            self.0.lock().unwrap().push(text.to_owned());
        }
        fn warn(&self, _: &str) {}
        fn alive(&self, _: &str, _: u64, _: Option<u64>) {}
    }

    #[test]
    fn output_without_end_is_told_in_part_and_its_end_is_kept() {
        let told = Told::default();
        let mut transcript = Transcript::new(&told);
        for n in 0..TOLD + 1000 {
            transcript.add(&format!("line {n}"));
        }
        let end = transcript.finish();
        assert_eq!(end.len(), KEPT);
        assert_eq!(end.last().unwrap(), &format!("line {}", TOLD + 999));
        let told = told.0.into_inner().unwrap();
        assert_eq!(told.len(), TOLD + 2 + KEPT);
        assert_eq!(told[TOLD + 1], "1000 lines were not shown; the last ones were:");
    }
}
