//! A dataset in batches, shuffled anew each epoch.

use rand::{Rng, seq::SliceRandom as _};

use crate::types::Dataset;

impl<T: Clone> Dataset<T> {
    /// Batches of `size` tasks, epoch after epoch without end. Each epoch is shuffled and has every task exactly once;
    /// its last batch may be smaller. A size of 0 counts as 1; an empty dataset has no batches.
    ///
    /// The same `rng` gives the same batches.
    ///
    /// ```
    /// use lightning_core::types::Dataset;
    /// use rand::{SeedableRng, rngs::StdRng};
    ///
    /// let tasks = Dataset::from([1, 2, 3, 4, 5]);
    /// let sizes: Vec<usize> = tasks.batches(2, StdRng::seed_from_u64(7)).epochs(2).map(|batch| batch.tasks.len()).collect();
    /// assert_eq!(sizes, [2, 2, 1, 2, 2, 1]);
    /// ```
    pub fn batches<R: Rng>(&self, size: usize, rng: R) -> Batches<T, R> {
        Batches {
            tasks: self.clone(),
            size: size.max(1),
            rng,
            order: Vec::new(),
            next: 0,
            started: 0,
            last: None,
        }
    }
}

/// Some tasks of one epoch.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch<T> {
    /// The epoch, from 0.
    pub epoch: usize,
    /// The tasks.
    pub tasks: Dataset<T>,
}

/// The batches of a dataset, from [`Dataset::batches`].
#[derive(Debug)]
pub struct Batches<T, R> {
    tasks: Dataset<T>,
    size: usize,
    rng: R,
    order: Vec<usize>,
    next: usize,
    /// How many epochs began.
    started: usize,
    last: Option<usize>,
}

impl<T, R> Batches<T, R> {
    /// Ends after `count` epochs, counted from the first.
    #[must_use]
    pub fn epochs(mut self, count: usize) -> Self {
        self.last = Some(count);
        self
    }
}

impl<T: Clone, R: Rng> Iterator for Batches<T, R> {
    type Item = Batch<T>;

    fn next(&mut self) -> Option<Batch<T>> {
        if self.next == self.order.len() {
            if self.tasks.is_empty() || self.last.is_some_and(|last| self.started >= last) {
                return None;
            }
            // Shuffled from the same start each time, so that an epoch depends on the generator alone.
            self.order = (0..self.tasks.len()).collect();
            self.order.shuffle(&mut self.rng);
            self.next = 0;
            self.started += 1;
        }
        let end = self.next.saturating_add(self.size).min(self.order.len());
        let tasks = self.order[self.next..end]
            .iter()
            .map(|&i| self.tasks[i].clone())
            .collect();
        self.next = end;
        Some(Batch {
            epoch: self.started - 1,
            tasks,
        })
    }
}
