//! Many small pieces of work on one directory, shared by threads.

/// Number of pieces from which threads share them: below, starting one costs more than it saves.
const MANY: usize = 256;

/// The most threads; a disk does not get faster by more.
const MOST: usize = 4;

/// Does the same work for every item, by several threads where there are many and there is more than
/// one processor; the order of the results is that of the items.
pub(super) fn spread<T: Send, R: Send>(mut items: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let all = |items: Vec<T>| items.into_iter().map(&work).collect::<Vec<R>>();
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MOST);
    if items.len() < MANY || threads == 1 {
        return all(items);
    }
    let share = items.len().div_ceil(threads);
    std::thread::scope(|scope| {
        let mut running = Vec::new();
        while items.len() > share {
            let part = items.split_off(items.len() - share);
            running.push(scope.spawn(|| all(part)));
        }
        let mut done = all(items);
        // The last part was split off first.
        for thread in running.into_iter().rev() {
            match thread.join() {
                Ok(part) => done.extend(part),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        done
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_items_however_many_there_are() {
        for many in [0, 1, MANY - 1, MANY, MANY * MOST + 7] {
            let doubled = spread((0..many).collect(), |n| 2 * n);
            assert_eq!(doubled, (0..many).map(|n| 2 * n).collect::<Vec<_>>(), "{many}");
        }
    }
}
