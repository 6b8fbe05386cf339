//! The reference's client, against the reference's server and against ours: the same calls, the same answers.

use std::process::Stdio;

use lightning_tests::tier;
use serde_json::Value;

use crate::python::{PythonServer, our_server};

const SEED: u64 = 20_260;
const SEQUENCES: usize = 300;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_reference_s_client_cannot_tell_our_server_from_its_own() {
    let Some(python) = tier::python() else { return };
    let theirs = PythonServer::start(&python).await;
    let (ours, _) = our_server().await;
    let mut command = python.script("differential.py");
    command
        .args([SEED.to_string(), SEQUENCES.to_string()])
        .args([&theirs.url, &ours]);
    let output = tokio::task::spawn_blocking(move || command.stdin(Stdio::null()).output())
        .await
        .unwrap()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let logs: [Vec<Vec<Value>>; 2] = serde_json::from_slice(&output.stdout).unwrap();
    let [theirs, ours] = logs;
    assert_eq!((theirs.len(), ours.len()), (SEQUENCES, SEQUENCES));
    let calls: usize = theirs.iter().map(Vec::len).sum();
    assert!(calls > SEQUENCES * 10, "only {calls} calls were compared");
    let mut differences = Vec::new();
    for (index, (theirs, ours)) in theirs.iter().zip(&ours).enumerate() {
        // After the first one, a sequence goes its own way.
        if let Some(step) = theirs.iter().zip(ours).position(|(theirs, ours)| theirs != ours) {
            differences.push(format!(
                "sequence {index}, call {step}:\n  theirs {}\n  ours   {}",
                theirs[step], ours[step]
            ));
        }
    }
    assert!(
        differences.is_empty(),
        "{} of {SEQUENCES} sequences differ\n{}",
        differences.len(),
        differences[..differences.len().min(8)].join("\n")
    );
}
