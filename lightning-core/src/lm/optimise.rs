//! AdamW, its learning rate, and clipping of gradients.

use std::collections::BTreeMap;

use candle_core::{Tensor, Var, backprop::GradStore};
use serde::{Deserialize, Serialize};

use super::LmError;

/// How the weights are changed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[serde(default)]
pub struct Optimiser {
    /// The greatest learning rate; it is reached after the warm-up.
    pub learning_rate: f64,
    /// The learning rate at the end, as a share of the greatest. In between it follows a cosine.
    pub final_share: f64,
    /// For how many steps the learning rate grows in a straight line.
    pub warm_up: u64,
    /// How long the mean of the gradients remembers.
    pub beta1: f64,
    /// How long the mean of their squares remembers.
    pub beta2: f64,
    /// What keeps a step from dividing by zero.
    pub epsilon: f64,
    /// By which share of the learning rate matrices shrink in a step; norms do not.
    pub weight_decay: f64,
    /// The longest that all gradients together may be; longer ones are shortened. 0 for no limit.
    pub clip: f64,
}

impl Default for Optimiser {
    fn default() -> Self {
        Self {
            learning_rate: 1e-3,
            final_share: 0.1,
            warm_up: 10,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.01,
            clip: 1.0,
        }
    }
}

impl Optimiser {
    /// The learning rate of a step, from 0, out of so many.
    pub fn rate(&self, step: u64, steps: u64) -> f64 {
        if step < self.warm_up {
            return self.learning_rate * (step + 1) as f64 / self.warm_up as f64;
        }
        let rest = steps.saturating_sub(self.warm_up).max(1) as f64;
        let passed = ((step - self.warm_up) as f64 / rest).min(1.0);
        let share = 0.5 * (1.0 + (std::f64::consts::PI * passed).cos());
        self.learning_rate * (self.final_share + (1.0 - self.final_share) * share)
    }
}

/// The optimizer of Loshchilov and Hutter (Decoupled Weight Decay Regularization, 2019), with the state it needs.
#[derive(Debug, Default)]
pub(super) struct AdamW {
    step: i32,
    moments: BTreeMap<String, (Vec<f32>, Vec<f32>)>,
}

impl AdamW {
    /// Changes the variables by their gradients. Returns the length of all gradients together, before it was limited; if
    /// that is no finite number, nothing has changed.
    pub(super) fn step(
        &mut self,
        variables: &BTreeMap<String, Var>,
        gradients: &GradStore,
        rate: f64,
        options: &Optimiser,
    ) -> Result<f64, LmError> {
        let mut flat = Vec::with_capacity(variables.len());
        let mut squares = 0.0f64;
        for (name, variable) in variables {
            let Some(gradient) = gradients.get(variable.as_tensor()) else {
                let problem = format!("`{name}` got no gradient");
                return Err(LmError::Weights { problem });
            };
            let gradient = gradient.flatten_all()?.to_vec1::<f32>()?;
            squares += gradient
                .iter()
                .map(|number| f64::from(*number).powi(2))
                .sum::<f64>();
            flat.push(gradient);
        }
        let length = squares.sqrt();
        if !length.is_finite() {
            return Ok(length);
        }
        let limited = options.clip > 0.0 && length > options.clip;
        let scale = if limited { options.clip / length } else { 1.0 } as f32;
        self.step = self.step.saturating_add(1);
        let (beta1, beta2) = (options.beta1 as f32, options.beta2 as f32);
        let correction1 = 1.0 - options.beta1.powi(self.step);
        let correction2 = 1.0 - options.beta2.powi(self.step);
        let size = (rate / correction1) as f32;
        let root = (1.0 / correction2.sqrt()) as f32;
        let epsilon = options.epsilon as f32;
        for ((name, variable), gradient) in variables.iter().zip(flat) {
            let decay = if variable.rank() > 1 {
                rate * options.weight_decay
            } else {
                0.0
            };
            let keep = (1.0 - decay) as f32;
            let mut numbers = variable.flatten_all()?.to_vec1::<f32>()?;
            let (first, second) = self
                .moments
                .entry(name.clone())
                .or_insert_with(|| (vec![0.0; numbers.len()], vec![0.0; numbers.len()]));
            let moments = first.iter_mut().zip(second.iter_mut());
            for ((number, gradient), (first, second)) in numbers.iter_mut().zip(gradient).zip(moments) {
                let gradient = gradient * scale;
                *first = beta1 * *first + (1.0 - beta1) * gradient;
                *second = beta2 * *second + (1.0 - beta2) * gradient * gradient;
                *number = *number * keep - size * *first / (second.sqrt() * root + epsilon);
            }
            variable.set(&Tensor::from_vec(numbers, variable.shape(), variable.device())?)?;
        }
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn the_learning_rate_rises_and_falls() {
        let options = Optimiser {
            learning_rate: 1.0,
            warm_up: 4,
            final_share: 0.1,
            ..Optimiser::default()
        };
        let rates: Vec<f64> = (0..14).map(|step| options.rate(step, 14)).collect();
        assert_eq!(rates[..4], [0.25, 0.5, 0.75, 1.0]);
        assert!((rates[4] - 1.0).abs() < 1e-12, "{rates:?}");
        assert!((rates[9] - 0.55).abs() < 1e-12, "half way");
        assert!(rates[4..].windows(2).all(|pair| pair[1] < pair[0]), "{rates:?}");
        assert!((options.rate(14, 14) - 0.1).abs() < 1e-12);
        assert!((options.rate(99, 14) - 0.1).abs() < 1e-12);
        assert!(options.rate(9, 0).is_finite());
    }

    /// One step from scratch moves each number by the learning rate against the sign of its gradient, as the corrections
    /// say; decay comes on top, for matrices only. Clipping does not change that, since it scales all alike.
    #[test]
    fn a_first_step_has_the_size_of_the_learning_rate() {
        let options = Optimiser {
            weight_decay: 0.5,
            clip: 0.01,
            ..Optimiser::default()
        };
        let matrix = Var::new(&[[1.0f32, -2.0]], &Device::Cpu).unwrap();
        let norm = Var::new(&[1.0f32], &Device::Cpu).unwrap();
        let loss = ((matrix.as_tensor() * 3.0).unwrap().sum_all().unwrap()
            + (norm.as_tensor() * -3.0).unwrap().sum_all().unwrap())
        .unwrap();
        let gradients = loss.backward().unwrap();
        let variables = BTreeMap::from([("a".to_owned(), matrix.clone()), ("b".to_owned(), norm.clone())]);
        let mut adam = AdamW::default();
        let length = adam.step(&variables, &gradients, 0.1, &options).unwrap();
        assert!((length - 27f64.sqrt()).abs() < 1e-6);
        let now = matrix.to_vec2::<f32>().unwrap();
        assert!(
            (now[0][0] - (0.95 - 0.1)).abs() < 1e-4 && (now[0][1] - (-1.9 - 0.1)).abs() < 1e-4,
            "{now:?}"
        );
        assert!((norm.to_vec1::<f32>().unwrap()[0] - 1.1).abs() < 1e-4);
    }

    #[test]
    fn a_variable_without_a_gradient_is_an_error_and_one_that_is_no_number_changes_nothing() {
        let x = Var::new(&[1.0f32], &Device::Cpu).unwrap();
        let other = Var::new(&[1.0f32], &Device::Cpu).unwrap();
        let gradients = x.sqr().unwrap().sum_all().unwrap().backward().unwrap();
        let mut adam = AdamW::default();
        let both = BTreeMap::from([("x".to_owned(), x.clone()), ("other".to_owned(), other)]);
        let error = adam
            .step(&both, &gradients, 0.1, &Optimiser::default())
            .unwrap_err();
        assert!(error.to_string().contains("`other`"), "{error}");
        let loss = (x.as_tensor() * f64::NAN).unwrap().sum_all().unwrap();
        let alone = BTreeMap::from([("x".to_owned(), x.clone())]);
        let length = adam
            .step(&alone, &loss.backward().unwrap(), 0.1, &Optimiser::default())
            .unwrap();
        assert!(length.is_nan());
        assert_eq!(x.to_vec1::<f32>().unwrap(), [1.0]);
    }
}
