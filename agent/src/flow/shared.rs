//! One copy of equal values, however many refer to it.

use std::{collections::HashSet, hash::Hash, sync::Arc};

/// Below this number of values nothing is cleaned up.
const MIN_CLEANUP: usize = 1_024;

/// Makes equal values the same `Arc`, for as long as somebody else has it.
#[derive(Debug)]
pub(crate) struct Shared<T> {
    values: HashSet<Arc<T>>,
    cleanup_at: usize,
}

impl<T: Eq + Hash> Shared<T> {
    pub(crate) fn new() -> Self {
        Self { values: HashSet::new(), cleanup_at: MIN_CLEANUP }
    }

    /// The shared copy of `value`.
    pub(crate) fn share(&mut self, value: Arc<T>) -> Arc<T> {
        if let Some(known) = self.values.get(&value) {
            return Arc::clone(known);
        }
        if self.values.len() >= self.cleanup_at {
            self.values.retain(|value| Arc::strong_count(value) > 1);
            self.cleanup_at = (self.values.len() * 2).max(MIN_CLEANUP);
        }
        self.values.insert(Arc::clone(&value));
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_one_and_unused_ones_go() {
        let mut shared = Shared::new();
        let first = shared.share(Arc::new(0_usize));
        assert!(Arc::ptr_eq(&first, &shared.share(Arc::new(0))));
        for value in 1..10 * MIN_CLEANUP {
            shared.share(Arc::new(value));
        }
        assert!(shared.values.len() <= MIN_CLEANUP);
        assert!(Arc::ptr_eq(&first, &shared.share(Arc::new(0))));
    }
}
