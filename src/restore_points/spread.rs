//! Many small pieces of work on one directory, shared by threads.

use std::sync::{Mutex, PoisonError};

/// Number of pieces from which threads share them: below, starting one costs more than it saves.
const MANY: usize = 256;

/// Number of pieces that a thread takes at once.
const PART: usize = 64;

/// The most threads; a disk does not get faster by more.
const MOST: usize = 4;

/// Does the same work for every item, by several threads where there are many and there is more than
/// one processor; the order of the results is that of the items.
pub(super) fn spread<T: Send, R: Send>(
    items: impl IntoIterator<Item = T, IntoIter: Send>,
    work: impl Fn(T) -> R + Sync,
) -> Vec<R> {
    joined(in_parts(items, |part| part.into_iter().map(&work).collect()))
}

/// Puts parts together that came one after the other.
pub(super) fn joined<R>(parts: Vec<Vec<R>>) -> Vec<R> {
    let mut all = Vec::with_capacity(parts.iter().map(Vec::len).sum());
    for part in parts {
        all.extend(part);
    }
    all
}

/// The same for work that takes some items at once; a result for each part, in the order of the items.
///
/// The items are asked for while the first of them are worked on: what lists a directory takes its time.
pub(super) fn in_parts<T: Send, R: Send>(
    items: impl IntoIterator<Item = T, IntoIter: Send>,
    work: impl Fn(Vec<T>) -> R + Sync,
) -> Vec<R> {
    let mut items = items.into_iter();
    let first: Vec<T> = items.by_ref().take(MANY).collect();
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MOST);
    if first.len() < MANY || threads == 1 {
        return vec![work(first.into_iter().chain(items).collect())];
    }
    let rest = Mutex::new(first.into_iter().chain(items).fuse().enumerate());
    let share = || {
        let mut done = Vec::new();
        loop {
            let taken = rest
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .by_ref()
                .take(PART)
                .collect::<Vec<_>>();
            let Some((place, _)) = taken.first() else { return done };
            done.push((*place, work(taken.into_iter().map(|(_, item)| item).collect())));
        }
    };
    let mut parts = std::thread::scope(|scope| {
        let running: Vec<_> = (1..threads).map(|_| scope.spawn(share)).collect();
        let mut parts = share();
        for thread in running {
            match thread.join() {
                Ok(part) => parts.extend(part),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        parts
    });
    parts.sort_unstable_by_key(|(place, _)| *place);
    parts.into_iter().map(|(_, part)| part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_items_however_many_there_are() {
        for many in [0, 1, PART, MANY - 1, MANY, MANY * MOST + 7] {
            let doubled = spread(0..many, |n| 2 * n);
            assert_eq!(doubled, (0..many).map(|n| 2 * n).collect::<Vec<_>>(), "{many}");
        }
    }

    #[test]
    fn parts_hold_every_item_once_in_its_order() {
        for many in [0, PART, MANY * MOST + 7] {
            let parts = in_parts(0..many, |part| part);
            assert_eq!(parts.concat(), (0..many).collect::<Vec<_>>(), "{many}");
        }
    }
}
