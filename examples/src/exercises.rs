//! Exercises with exact answers, which a small model can learn: adding numbers and sorting digits.
//!
//! They are made by a seed. What a model is tested on it has never met: whether an exercise is for training or for testing is
//! decided by its operands alone, in whatever order they stand.

use std::collections::HashSet;

use lightning_core::types::Dataset;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde::{Deserialize, Serialize};

/// Of so many operands, one is kept for the test.
const HELD_OUT: u64 = 5;

/// What is practised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// The sum of two numbers of one to three digits.
    Addition,
    /// Three to five digits, the smallest first.
    Sorting,
}

/// A question with its answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Exercise {
    /// What is asked, such as `sort 3142` or `17+285`.
    pub question: String,
    /// The answer, such as `1234` or `302`.
    pub answer: String,
}

impl Exercise {
    /// 1 for exactly the right answer, else 0.
    pub fn reward(&self, said: &str) -> f64 {
        f64::from(u8::from(said == self.answer))
    }
}

/// Exercises for training and, with other operands, for testing.
#[derive(Clone, Debug)]
pub struct Split {
    /// For training.
    pub train: Dataset<Exercise>,
    /// For testing.
    pub test: Dataset<Exercise>,
}

impl Subject {
    /// So many different exercises for training and for testing, decided by the seed. There are at most as many as there are.
    pub fn split(self, seed: u64, train: usize, test: usize) -> Split {
        Split {
            train: self.draw(seed, train, false).into(),
            test: self.draw(seed.wrapping_add(1), test, true).into(),
        }
    }

    /// Different exercises, for testing or for training.
    fn draw(self, seed: u64, count: usize, held_out: bool) -> Vec<Exercise> {
        let mut rng = StdRng::seed_from_u64(seed);
        let (mut drawn, mut known, mut misses) = (Vec::new(), HashSet::new(), 0);
        while drawn.len() < count && misses < 1_000 {
            let (exercise, held) = self.exercise(&mut rng);
            if held == held_out && known.insert(exercise.clone()) {
                drawn.push(exercise);
                misses = 0;
            } else {
                misses += 1;
            }
        }
        drawn
    }

    /// An exercise, and whether its operands are kept for the test.
    fn exercise(self, rng: &mut StdRng) -> (Exercise, bool) {
        match self {
            Self::Addition => {
                let mut number = || {
                    let digits = rng.random_range(1..=3);
                    rng.random_range(0..10u64.pow(digits))
                };
                let (a, b) = (number(), number());
                let exercise = Exercise {
                    question: format!("{a}+{b}"),
                    answer: (a + b).to_string(),
                };
                (exercise, is_held_out(a.min(b) * 1_000 + a.max(b)))
            }
            Self::Sorting => {
                let length = rng.random_range(3..=5);
                let digits: Vec<u64> = (0..length).map(|_| rng.random_range(0..10)).collect();
                let mut sorted = digits.clone();
                sorted.sort_unstable();
                let operands = sorted.iter().fold(1, |number, digit| number * 10 + digit);
                let text = |digits: &[u64]| digits.iter().map(u64::to_string).collect::<String>();
                let exercise = Exercise {
                    question: format!("sort {}", text(&digits)),
                    answer: text(&sorted),
                };
                (exercise, is_held_out(operands))
            }
        }
    }
}

/// Decides by the operands alone.
fn is_held_out(operands: u64) -> bool {
    let mixed = (operands ^ (operands >> 7)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 40).is_multiple_of(HELD_OUT)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the operands are, whatever their order.
    fn operands(exercise: &Exercise) -> Vec<u64> {
        let question = &exercise.question;
        let mut operands: Vec<u64> = match question.strip_prefix("sort ") {
            Some(digits) => digits.bytes().map(|digit| u64::from(digit - b'0')).collect(),
            None => question
                .split('+')
                .map(|number| number.parse().unwrap())
                .collect(),
        };
        operands.sort_unstable();
        operands
    }

    #[test]
    fn no_operands_are_both_trained_and_tested_on() {
        for subject in [Subject::Addition, Subject::Sorting] {
            let Split { train, test } = subject.split(7, 3_000, 500);
            assert_eq!((train.len(), test.len()), (3_000, 500));
            let trained: HashSet<Vec<u64>> = train.iter().map(operands).collect();
            assert!(test.iter().all(|exercise| !trained.contains(&operands(exercise))));
        }
    }

    #[test]
    fn the_seed_decides_and_answers_are_right() {
        let split = Subject::Addition.split(3, 50, 50);
        assert_eq!(
            split.train.as_slice(),
            Subject::Addition.split(3, 50, 50).train.as_slice()
        );
        assert_ne!(
            split.train.as_slice(),
            Subject::Addition.split(4, 50, 50).train.as_slice()
        );
        for exercise in split.train.iter() {
            let sum: u64 = operands(exercise).iter().sum();
            assert_eq!(exercise.answer, sum.to_string());
            assert_eq!(
                (exercise.reward(&exercise.answer), exercise.reward("no")),
                (1.0, 0.0)
            );
        }
        for exercise in Subject::Sorting.split(3, 50, 0).train.iter() {
            let digits: String = operands(exercise).iter().map(u64::to_string).collect();
            assert_eq!(exercise.answer, digits);
        }
    }

    #[test]
    fn asking_for_more_than_there_are_ends() {
        assert!(Subject::Sorting.split(1, 0, 1_000_000).test.len() < 100_000);
    }
}
