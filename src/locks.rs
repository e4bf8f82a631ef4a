//! Chunk locks: within one process, no update of a chunk is lost.
//!
//! A partial write reads a chunk, changes some of it and puts it back; another writer in between would be
//! undone. So every write holds its chunks' locks. Nobody ever waits for one with a thread: who finds a
//! lock taken leaves a continuation with it, which whoever releases the lock runs. Locks are taken in
//! ascending order, so two batches cannot wait for each other.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use crate::process::PerProcess;

/// Names a chunk: a hash of its store and key. Two chunks with one name wait for each other, no more.
pub type ChunkName = u64;

/// What runs once all locks are held.
type Continuation = Box<dyn FnOnce(Held) + Send>;

/// Somebody on the way to holding all of their locks.
struct Waiter {
    names: Vec<ChunkName>,
    /// How many of them are held.
    held: usize,
    then: Continuation,
}

/// Locks that are taken, each with those who wait for it.
type Table = HashMap<ChunkName, VecDeque<Waiter>>;

static TABLE: PerProcess<Mutex<Table>> = PerProcess::new(|| Mutex::new(HashMap::new()));

/// To be called in the child after a fork, before anything else here.
pub fn after_fork_in_child() {
    TABLE.forget_in_child();
}

/// Locks that are held until this is dropped.
pub struct Held {
    names: Vec<ChunkName>,
    table: &'static Mutex<Table>,
    /// The process that took them.
    process_id: u32,
}

impl Held {
    fn new(names: Vec<ChunkName>, table: &'static Mutex<Table>) -> Self {
        Self { names, table, process_id: std::process::id() }
    }
}

impl std::fmt::Debug for Held {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Held").field(&self.names).finish()
    }
}

/// Takes the locks of all `names` at once, if none of them is taken.
#[must_use]
pub fn try_lock(mut names: Vec<ChunkName>) -> Option<Held> {
    names.sort_unstable();
    names.dedup();
    let table = TABLE.get();
    let mut taken = table.lock().unwrap_or_else(PoisonError::into_inner);
    if names.iter().any(|name| taken.contains_key(name)) {
        return None;
    }
    taken.extend(names.iter().map(|&name| (name, VecDeque::new())));
    drop(taken);
    Some(Held::new(names, table))
}

/// Takes the locks of all `names`, then runs `then`: at once, or on the thread that releases the last of
/// them.
pub fn lock(mut names: Vec<ChunkName>, then: impl FnOnce(Held) + Send + 'static) {
    names.sort_unstable();
    names.dedup();
    proceed(TABLE.get(), Waiter { names, held: 0, then: Box::new(then) });
}

/// Takes as many of the waiter's locks as there are free ones in a row.
fn proceed(table: &'static Mutex<Table>, mut waiter: Waiter) {
    let mut taken = table.lock().unwrap_or_else(PoisonError::into_inner);
    while let Some(name) = waiter.names.get(waiter.held) {
        if let Some(queue) = taken.get_mut(name) {
            queue.push_back(waiter);
            return;
        }
        taken.insert(*name, VecDeque::new());
        waiter.held += 1;
    }
    drop(taken);
    (waiter.then)(Held::new(waiter.names, table));
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.process_id != std::process::id() {
            // A child's copy of what its parent holds: the locks, and whoever waits for them, are there.
            return;
        }
        let mut next = Vec::new();
        {
            let mut taken = self.table.lock().unwrap_or_else(PoisonError::into_inner);
            for name in &self.names {
                // The lock passes to the first in the queue without becoming free in between.
                match taken.get_mut(name).and_then(VecDeque::pop_front) {
                    Some(mut waiter) => {
                        waiter.held += 1;
                        next.push(waiter);
                    }
                    None => {
                        taken.remove(name);
                    }
                }
            }
        }
        for waiter in next {
            proceed(self.table, waiter);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn continuations_run_in_turn_and_only_when_all_is_free() {
        let order = Arc::new(Mutex::new(Vec::new()));
        let first = try_lock(vec![900_001, 900_002]).unwrap();
        assert!(try_lock(vec![900_002, 900_003]).is_none());
        for number in 0..3 {
            let order = Arc::clone(&order);
            lock(vec![900_003, 900_002, 900_002], move |_held| order.lock().unwrap().push(number));
        }
        assert!(order.lock().unwrap().is_empty());
        drop(first);
        assert_eq!(*order.lock().unwrap(), [0, 1, 2]);
        assert!(try_lock(vec![900_001, 900_002, 900_003]).is_some());
    }

    #[test]
    fn many_threads_lose_nothing() {
        static VALUE: AtomicUsize = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for thread in 0..4_u64 {
                scope.spawn(move || {
                    for round in 0..500 {
                        let names = vec![910_000 + (thread + round) % 3, 910_007];
                        lock(names, |_held| {
                            // Not atomic on purpose: only the lock makes it so.
                            let value = VALUE.load(Ordering::Relaxed);
                            std::thread::yield_now();
                            VALUE.store(value + 1, Ordering::Relaxed);
                        });
                    }
                });
            }
        });
        assert!(try_lock((910_000..910_010).collect()).is_some());
        assert_eq!(VALUE.load(Ordering::Relaxed), 2000);
    }
}
