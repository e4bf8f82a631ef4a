//! Chunks whose bytes arrived and that are not decoded yet.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::Error;

/// Called once when a wait is over.
pub type Notify = Box<dyn FnOnce(Result<(), Error>) + Send>;

/// Counts what is left, keeps the first failure, and wakes whoever waits.
#[derive(Default)]
pub struct Feeding(Mutex<State>);

#[derive(Default)]
struct State {
    /// Bytes of all that waits or is being decoded, and one more for each.
    weight: usize,
    failure: Option<Error>,
    has_failed: bool,
    waiting: Vec<(usize, Notify)>,
}

impl State {
    /// Takes out those whose wait is over.
    fn woken(&mut self) -> Vec<Notify> {
        let (weight, has_failed) = (self.weight, self.has_failed);
        let is_over = |wanted: usize| weight <= wanted || (has_failed && wanted > 0);
        self.waiting.extract_if(.., |(wanted, _)| is_over(*wanted)).map(|(_, notify)| notify).collect()
    }
}

impl std::fmt::Debug for Feeding {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Feeding").field("weight", &self.lock().weight).finish_non_exhaustive()
    }
}

impl Feeding {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts something in, and answers how much there is with it.
    pub fn add(&self, weight: usize) -> usize {
        let mut state = self.lock();
        state.weight = state.weight.saturating_add(weight);
        state.weight
    }

    /// Counts it out again.
    pub fn done(&self, weight: usize, result: Result<(), Error>) {
        let mut state = self.lock();
        state.weight = state.weight.saturating_sub(weight);
        if let (Err(error), false) = (result, state.has_failed) {
            state.has_failed = true;
            state.failure = Some(error);
        }
        Self::wake(state);
    }

    /// Whether something failed.
    pub fn has_failed(&self) -> bool {
        self.lock().has_failed
    }

    /// Calls `notify` once at most `weight` is left, or something failed; with 0 only when nothing is left. The
    /// first to hear of a failure gets it, the others hear that all is well.
    pub fn wait(&self, weight: usize, notify: Notify) {
        let mut state = self.lock();
        state.waiting.push((weight, notify));
        Self::wake(state);
    }

    fn wake(mut state: MutexGuard<'_, State>) {
        let woken = state.woken();
        let failure = if woken.is_empty() { None } else { state.failure.take() };
        // Whoever is called may take other locks.
        drop(state);
        let mut result = failure.map_or(Ok(()), Err);
        for notify in woken {
            notify(std::mem::replace(&mut result, Ok(())));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn waits_end_in_time_and_one_hears_of_the_failure() {
        let feeding = Feeding::default();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let listener = |name: &'static str| -> Notify {
            let heard = Arc::clone(&heard);
            Box::new(move |result| heard.lock().unwrap().push((name, result.is_ok())))
        };
        feeding.wait(0, listener("nothing to wait for"));
        assert_eq!(feeding.add(5), 5);
        assert_eq!(feeding.add(7), 12);
        feeding.wait(6, listener("some"));
        feeding.wait(0, listener("all"));
        assert_eq!(heard.lock().unwrap().len(), 1);
        feeding.done(7, Ok(()));
        assert_eq!(heard.lock().unwrap().last(), Some(&("some", true)));
        feeding.done(5, Err(Error::Cancelled));
        assert_eq!(heard.lock().unwrap().last(), Some(&("all", false)));
        feeding.wait(0, listener("late"));
        assert_eq!(heard.lock().unwrap().last(), Some(&("late", true)));
    }
}
