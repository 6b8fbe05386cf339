//! The numbers that the logits are held against, worked out again.

use std::path::Path;

use lightning_tests::tier;
use serde_json::Value;

/// The file that `checkpoints` reads is what the script says, and nothing that was written by hand or by us.
#[test]
fn the_expected_logits_are_those_that_numpy_computes() {
    let Some(python) = tier::python() else { return };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/llama_golden.py");
    let output = python.command().arg(script).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let computed: Value = serde_json::from_slice(&output.stdout).unwrap();
    let kept: Value = serde_json::from_str(include_str!("../../golden/llama_logits.json")).unwrap();
    let (computed, kept) = (&computed["cases"], &kept["cases"]);
    let mut compared = 0;
    for (computed, kept) in computed.as_array().unwrap().iter().zip(kept.as_array().unwrap()) {
        assert_eq!(
            (&computed["config"], &computed["tokens"]),
            (&kept["config"], &kept["tokens"])
        );
        let numbers = |case: &Value| -> Vec<f64> {
            let rows: Vec<Vec<f64>> = serde_json::from_value(case["logits"].clone()).unwrap();
            rows.concat()
        };
        let (computed, kept) = (numbers(computed), numbers(kept));
        assert_eq!(computed.len(), kept.len());
        for (computed, kept) in computed.iter().zip(&kept) {
            // Both are rounded to six digits, after sums whose order is the machine's choice.
            assert!((computed - kept).abs() < 3e-6, "{computed} and {kept}");
            compared += 1;
        }
    }
    assert_eq!(compared, 11 * (23 + 31));
}
