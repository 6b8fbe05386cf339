//! Random choices that do not depend on what was chosen before.

use rand::{SeedableRng as _, rngs::StdRng};
use sha2::{Digest as _, Sha256};

/// The generator for one purpose at one place of a run.
///
/// Each choice has a generator of its own, made from the run's seed and the choice's place. So a run that is resumed goes on
/// with the choices of one that was not interrupted, and nothing depends on what ends first.
pub(in crate::algorithm) fn stream(seed: u64, purpose: &str, place: &[usize]) -> StdRng {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update(purpose.as_bytes());
    for number in place {
        hash.update((*number as u64).to_le_bytes());
    }
    StdRng::from_seed(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use rand::RngExt as _;

    use super::*;

    #[test]
    fn seed_purpose_and_place_decide() {
        let first = |seed, purpose, place: &[usize]| stream(seed, purpose, place).random::<u64>();
        let one = first(1, "a", &[1, 2]);
        assert_eq!(one, first(1, "a", &[1, 2]));
        for other in [
            first(2, "a", &[1, 2]),
            first(1, "b", &[1, 2]),
            first(1, "a", &[2, 1]),
        ] {
            assert_ne!(one, other);
        }
    }
}
