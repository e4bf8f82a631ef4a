//! Chunks that Python fed to a read and that are not decoded yet.

use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;

use super::run;
use crate::error::Error;

/// Counts what is left, keeps the first failure, and wakes whoever waits.
#[derive(Default)]
pub(crate) struct Feeding(Mutex<State>);

#[derive(Default)]
struct State {
    /// Bytes of all that waits or is being decoded, and one more for each.
    weight: usize,
    failure: Option<Error>,
    has_failed: bool,
    waiting: Vec<(usize, Py<PyAny>)>,
}

impl State {
    /// Takes out those whose wait is over.
    fn woken(&mut self) -> Vec<Py<PyAny>> {
        let (weight, has_failed) = (self.weight, self.has_failed);
        let is_over = |wanted: usize| weight <= wanted || (has_failed && wanted > 0);
        self.waiting.extract_if(.., |(wanted, _)| is_over(*wanted)).map(|(_, notify)| notify).collect()
    }
}

impl Feeding {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts something in, and answers how much there is with it.
    pub(crate) fn add(&self, weight: usize) -> usize {
        let mut state = self.lock();
        state.weight = state.weight.saturating_add(weight);
        state.weight
    }

    /// Counts it out again.
    pub(crate) fn done(&self, weight: usize, result: Result<(), Error>) {
        let mut state = self.lock();
        state.weight = state.weight.saturating_sub(weight);
        if let (Err(error), false) = (result, state.has_failed) {
            state.has_failed = true;
            state.failure = Some(error);
        }
        self.wake(state);
    }

    /// Calls `notify` once at most `weight` is left, or something failed. The first to hear of a failure gets
    /// the exception.
    pub(crate) fn wait(&self, weight: usize, notify: Py<PyAny>) {
        let mut state = self.lock();
        state.waiting.push((weight, notify));
        self.wake(state);
    }

    fn wake(&self, mut state: MutexGuard<'_, State>) {
        let woken = state.woken();
        let failure = if woken.is_empty() { None } else { state.failure.take() };
        drop(state);
        let mut result = failure.map_or(Ok(()), Err);
        for notify in woken {
            // The interpreter lock is taken in here: ours is free by now.
            run::tell(notify, std::mem::replace(&mut result, Ok(())));
        }
    }
}
