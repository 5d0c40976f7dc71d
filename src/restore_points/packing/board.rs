//! What the packers know of a dump that is under way: which members began, which are whole.

use std::collections::{HashSet, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::system::growing::Seen;

/// How long a packer waits for a member to grow before it looks again.
const WAIT: Duration = Duration::from_millis(20);

/// Where the dump stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Dump {
    #[default]
    Running,
    /// Every member is whole.
    Ended,
    /// Nothing of it is worth to be packed any more.
    Failed,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<String>,
    known: HashSet<String>,
    closed: HashSet<String>,
    dump: Dump,
}

/// How far a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Member {
    Growing,
    Whole,
    Abandoned,
}

/// The board that the dump writes and the packers read.
#[derive(Debug, Default)]
pub(super) struct Board {
    state: Mutex<State>,
    changed: Condvar,
}

impl Board {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what was seen; returns whether the dump is still under way.
    pub(super) fn note(&self, news: Vec<Seen>) -> bool {
        let mut state = self.state();
        for seen in news {
            match seen {
                Seen::Begun(name) => state.add(name),
                Seen::Closed(name) => {
                    state.closed.insert(name);
                }
            }
        }
        self.changed.notify_all();
        state.dump == Dump::Running
    }

    /// The dump has ended well with these files in its directory.
    pub(super) fn ended(&self, all: Vec<String>) {
        let mut state = self.state();
        all.into_iter().for_each(|name| state.add(name));
        if state.dump == Dump::Running {
            state.dump = Dump::Ended;
        }
        self.changed.notify_all();
    }

    /// Whoever packs or waits shall stop.
    pub(super) fn failed(&self) {
        self.state().dump = Dump::Failed;
        self.changed.notify_all();
    }

    /// Waits for the next member to pack; none when there will be no more.
    pub(super) fn next(&self) -> Option<String> {
        let mut state = self.state();
        loop {
            match (state.dump, state.waiting.pop_front()) {
                (Dump::Failed, _) | (Dump::Ended, None) => return None,
                (Dump::Running | Dump::Ended, Some(name)) => return Some(name),
                (Dump::Running, None) => {
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }

    /// Says how far a member is. What is read after it was whole is all of it.
    pub(super) fn look(&self, name: &str) -> Member {
        self.state().member(name)
    }

    /// Waits a moment for a member to grow or to be whole.
    pub(super) fn wait(&self, name: &str) {
        let state = self.state();
        if state.member(name) == Member::Growing {
            let _ = self.changed.wait_timeout(state, WAIT);
        }
    }

    /// Returns how many files wait to be packed.
    #[cfg(test)]
    fn waiting(&self) -> usize {
        self.state().waiting.len()
    }
}

impl State {
    fn add(&mut self, name: String) {
        if super::is_member(&name) && self.known.insert(name.clone()) {
            self.waiting.push_back(name);
        }
    }

    fn member(&self, name: &str) -> Member {
        match self.dump {
            Dump::Failed => Member::Abandoned,
            Dump::Ended => Member::Whole,
            Dump::Running if self.closed.contains(name) => Member::Whole,
            Dump::Running => Member::Growing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_packed_once_and_whole_when_it_was_closed() {
        let board = Board::default();
        let seen = |name: &str| Seen::Begun(name.into());
        assert!(board.note(vec![seen("1.dat"), seen("toc.dat"), seen("2.dat"), seen("1.dat")]));
        assert_eq!(board.waiting(), 2);
        assert_eq!(board.next().as_deref(), Some("1.dat"));
        assert_eq!(board.look("1.dat"), Member::Growing);
        board.note(vec![Seen::Closed("1.dat".into())]);
        assert_eq!(board.look("1.dat"), Member::Whole);
        board.ended(vec!["1.dat".into(), "3.dat".into()]);
        assert_eq!(board.look("2.dat"), Member::Whole);
        assert_eq!(
            [board.next(), board.next(), board.next()],
            [Some("2.dat".into()), Some("3.dat".into()), None]
        );
    }

    #[test]
    fn nothing_is_packed_of_a_dump_that_failed() {
        let board = Board::default();
        board.note(vec![Seen::Begun("1.dat".into())]);
        board.failed();
        board.ended(vec!["1.dat".into()]);
        assert_eq!((board.next(), board.look("1.dat")), (None, Member::Abandoned));
    }
}
