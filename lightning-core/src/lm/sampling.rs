//! From logits to a token.

use rand::{RngExt as _, rngs::StdRng};

/// How a token is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sampling {
    /// 0 takes the likeliest token; 1 samples as the model says.
    pub(super) temperature: f64,
    /// Only the likeliest tokens that together have this probability are chosen from.
    pub(super) top_p: f64,
}

impl Sampling {
    /// A token. Of equally likely ones the first counts as likelier.
    pub(super) fn choose(self, logits: &[f32], rng: &mut StdRng) -> usize {
        let likeliest = likeliest(logits);
        if self.temperature <= 0.0 {
            return likeliest;
        }
        let greatest = f64::from(logits.get(likeliest).copied().unwrap_or_default());
        let weight = |logit: &f32| ((f64::from(*logit) - greatest) / self.temperature).exp();
        let mut weights: Vec<(usize, f64)> = logits.iter().map(weight).enumerate().collect();
        let mut total: f64 = weights.iter().map(|(_, weight)| weight).sum();
        if self.top_p < 1.0 {
            weights.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            let (mut sum, enough) = (0.0, self.top_p * total);
            let kept = weights.iter().position(|(_, weight)| {
                sum += weight;
                sum >= enough
            });
            weights.truncate(kept.map_or(weights.len(), |last| last + 1));
            total = weights.iter().map(|(_, weight)| weight).sum();
        }
        let mut rest = rng.random::<f64>() * total;
        for (token, weight) in &weights {
            rest -= weight;
            if rest < 0.0 {
                return *token;
            }
        }
        likeliest
    }
}

fn likeliest(logits: &[f32]) -> usize {
    let mut best = 0;
    for (token, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = token;
        }
    }
    best
}

/// The natural logarithms of the probabilities that the model gives, whatever the temperature.
pub(super) fn log_probabilities(logits: &[f32]) -> Vec<f64> {
    let greatest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|logit| f64::from(logit - greatest).exp()).sum();
    let log_sum = f64::from(greatest) + sum.ln();
    logits.iter().map(|logit| f64::from(*logit) - log_sum).collect()
}

/// The likeliest tokens, the likeliest first.
pub(super) fn top(log_probabilities: &[f64], count: usize) -> Vec<(u32, f64)> {
    let mut all: Vec<(u32, f64)> = (0..).zip(log_probabilities.iter().copied()).collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    all.truncate(count);
    all
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    fn frequencies(temperature: f64, top_p: f64) -> Vec<f64> {
        let logits = [0.0f32, 2f32.ln(), 1f32.ln() + 4f32.ln(), f32::NEG_INFINITY];
        let mut rng = StdRng::seed_from_u64(1);
        let mut counts = vec![0.0; 4];
        for _ in 0..20_000 {
            counts[Sampling { temperature, top_p }.choose(&logits, &mut rng)] += 1.0 / 20_000.0;
        }
        counts
    }

    #[test]
    fn tokens_are_as_frequent_as_they_are_likely() {
        let near =
            |a: Vec<f64>, b: [f64; 4]| assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 0.02), "{a:?}");
        near(frequencies(1.0, 1.0), [1.0 / 7.0, 2.0 / 7.0, 4.0 / 7.0, 0.0]);
        near(frequencies(0.5, 1.0), [1.0 / 21.0, 4.0 / 21.0, 16.0 / 21.0, 0.0]);
        near(frequencies(1.0, 0.8), [0.0, 1.0 / 3.0, 2.0 / 3.0, 0.0]);
        near(frequencies(1.0, 0.5), [0.0, 0.0, 1.0, 0.0]);
        near(frequencies(1.0, 0.0), [0.0, 0.0, 1.0, 0.0]);
        near(frequencies(0.0, 1.0), [0.0, 0.0, 1.0, 0.0]);
        near(frequencies(1e-300, 1.0), [0.0, 0.0, 1.0, 0.0]);
    }

    #[test]
    fn log_probabilities_are_those_of_the_model() {
        let logs = log_probabilities(&[1000.0, 1000.0, 900.0]);
        assert!((logs[0] + 2f64.ln()).abs() < 1e-9 && logs[2] < -99.0);
        assert_eq!(
            top(&logs, 2).iter().map(|(token, _)| *token).collect::<Vec<_>>(),
            [0, 1]
        );
    }
}
