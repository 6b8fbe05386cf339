//! Which backend a rollout stays with: rendezvous hashing, so that each rollout has its own order of the backends, and a
//! backend that comes or goes moves only the rollouts that it takes or had.

/// The backends in the order in which a rollout tries them, by their names and weights. The same in every process.
pub(super) fn order<'a>(key: &str, backends: impl Iterator<Item = (&'a str, f64)>) -> Vec<usize> {
    let mut scored: Vec<(f64, usize)> = backends
        .enumerate()
        .map(|(place, (name, weight))| {
            // A number within 0 and 1, and never one of them; the weighted score of "Weighted Rendezvous Hashing"
            // (Schindelhauer and Schomaker, 2005).
            let unit = ((hash(key, name) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
            (-weight / unit.ln(), place)
        })
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    scored.into_iter().map(|(_, place)| place).collect()
}

/// FNV-1a over both texts, and the finalizer of MurmurHash3, which spreads what FNV leaves in the low bits.
fn hash(key: &str, name: &str) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in key.bytes().chain([0xff]).chain(name.bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(count: usize) -> Vec<String> {
        (0..count)
            .map(|number| format!("http://host-{number}/v1"))
            .collect()
    }

    fn first(key: &str, names: &[String]) -> String {
        let order = order(key, names.iter().map(|name| (name.as_str(), 1.0)));
        names[order[0]].clone()
    }

    proptest! {
        #[test]
        fn a_backend_that_goes_moves_only_its_own_rollouts(key in ".{0,20}", count in 2..8_usize, gone in 0..8_usize) {
            let all = names(count);
            let mut fewer = all.clone();
            let gone = fewer.remove(gone % count);
            let (before, after) = (first(&key, &all), first(&key, &fewer));
            if before == gone {
                let order = order(&key, all.iter().map(|name| (name.as_str(), 1.0)));
                prop_assert_eq!(after, all[order[1]].clone(), "to the next in its order");
            } else {
                prop_assert_eq!(after, before);
            }
        }

        #[test]
        fn every_backend_is_in_the_order_once(key in ".{0,20}", count in 0..8_usize) {
            let all = names(count);
            let mut order = order(&key, all.iter().map(|name| (name.as_str(), 1.0)));
            order.sort_unstable();
            prop_assert_eq!(order, (0..count).collect::<Vec<_>>());
        }
    }

    #[test]
    fn shares_are_as_the_weights_say() {
        let weights = [1.0, 2.0, 5.0];
        let all = names(3);
        let mut counts = [0_u32; 3];
        for rollout in 0..16_000 {
            let backends = all.iter().map(String::as_str).zip(weights);
            counts[order(&format!("ro-{rollout:x}"), backends)[0]] += 1;
        }
        for (count, weight) in counts.into_iter().zip(weights) {
            let expected = 2_000.0 * weight;
            assert!((f64::from(count) - expected).abs() < 0.1 * expected, "{counts:?}");
        }
    }

    #[test]
    fn the_order_is_the_same_in_every_build() {
        let all = names(4);
        let order = order("ro-0123456789ab", all.iter().map(|name| (name.as_str(), 1.0)));
        assert_eq!(order, [3, 2, 1, 0]);
    }
}
