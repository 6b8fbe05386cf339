//! How often tasks are solved: pass@k.

use serde::{Deserialize, Serialize};

/// The greatest k that is told.
const GREATEST: usize = 16;

/// How often tasks are solved: pass@1 and pass@k, means over the tasks.
///
/// Pass@k is the probability that one of k samples is right, estimated without bias from n ≥ k samples, of which c are right:
/// 1 − C(n−c, k) / C(n, k) (Chen et al. 2021, [arXiv:2107.03374](https://arxiv.org/abs/2107.03374)).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PassRates {
    /// The share of the samples that are right.
    pub pass_at_1: f64,
    /// The share of the tasks of which one in k samples is right.
    pub pass_at_k: f64,
    /// k: 16, or as many samples as each task has.
    pub k: usize,
    /// How many tasks had a sample with a reward.
    pub tasks: usize,
    /// How many samples had a reward.
    pub samples: usize,
}

impl PassRates {
    /// Of these tasks: for each how many samples there are, and how many of them are right.
    pub(super) fn of(tasks: &[(usize, usize)], k: usize) -> Self {
        let k = k.min(GREATEST);
        let tasks: Vec<(usize, usize)> = tasks.iter().copied().filter(|(n, _)| *n > 0).collect();
        let mean = |k: usize| {
            let sum: f64 = tasks.iter().map(|(n, c)| pass(*n, *c, k.min(*n))).sum();
            sum / tasks.len().max(1) as f64
        };
        Self {
            pass_at_1: mean(1),
            pass_at_k: mean(k),
            k,
            tasks: tasks.len(),
            samples: tasks.iter().map(|(n, _)| n).sum(),
        }
    }
}

fn pass(n: usize, c: usize, k: usize) -> f64 {
    if n - c < k {
        return 1.0;
    }
    let none: f64 = (n - c + 1..=n).map(|i| 1.0 - k as f64 / i as f64).product();
    1.0 - none
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(n: usize, k: usize) -> f64 {
        (0..k).map(|i| (n - i) as f64 / (i + 1) as f64).product()
    }

    #[test]
    fn the_estimate_is_the_one_by_counting() {
        for n in 1..12 {
            for c in 0..=n {
                for k in 1..=n {
                    let counted = 1.0
                        - if k > n - c {
                            0.0
                        } else {
                            choose(n - c, k) / choose(n, k)
                        };
                    assert!((pass(n, c, k) - counted).abs() < 1e-12, "{n} {c} {k}");
                }
            }
        }
    }

    #[test]
    fn rates_are_means_over_tasks() {
        let rates = PassRates::of(&[(4, 4), (4, 0), (4, 1), (0, 0)], 4);
        assert_eq!((rates.tasks, rates.samples, rates.k), (3, 12, 4));
        assert!((rates.pass_at_1 - 5.0 / 12.0).abs() < 1e-12);
        assert!((rates.pass_at_k - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!(PassRates::of(&[], 16).pass_at_1, 0.0);
    }

    #[test]
    fn a_task_with_fewer_samples_counts_with_those_it_has() {
        assert_eq!(PassRates::of(&[(2, 1)], 16).pass_at_k, 1.0);
    }
}
