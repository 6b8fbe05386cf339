//! One `fit` that starts everything.

use lightning_tests::scratch::Scratch;
use serde_json::json;

use crate::program::{start, start_with};

#[test]
fn four_processes_do_the_work_of_one_fit_and_leave_nothing() {
    let scratch = Scratch::fast();
    let ended = start(&json!({"tasks": 40, "takes": 20, "meet": scratch.path("")})).end();
    assert!(ended.status.success(), "{:#?}", ended.said);
    ended.every_rollout_succeeded_once(40);
    ended.nothing_is_left();
    assert_eq!(ended.processes().len(), 4, "{:#?}", ended.said);
    let report = ended.json("report: ");
    assert_eq!(
        report,
        json!({"output": {"succeeded": 40}, "counted": 40, "rewarded": 40, "stopped": null})
    );
    // The parent has the role `both`, the others that of runners.
    let roles: Vec<_> = ended
        .said
        .iter()
        .filter(|line| line.starts_with("role "))
        .collect();
    assert_eq!(
        roles
            .iter()
            .filter(|line| line.starts_with("role runner"))
            .count(),
        4
    );
    assert_eq!(
        roles.iter().filter(|line| line.starts_with("role both")).count(),
        1
    );
}

#[test]
fn workers_have_names_that_no_other_has() {
    let scratch = Scratch::fast();
    let settings =
        json!({"tasks": 40, "takes": 20, "runners": 4, "per_process": 2, "meet": scratch.path("")});
    let ended = start(&settings).end();
    let workers: std::collections::BTreeSet<_> = ended
        .rollouts()
        .into_iter()
        .flat_map(|rollout| rollout.workers)
        .collect();
    assert_eq!(workers.len(), 4, "{workers:?}");
    let processes = ended.processes();
    assert_eq!(processes.len(), 2, "two runners share a process");
    for process in processes {
        let marked = workers
            .iter()
            .filter(|worker| worker.contains(&format!("-{process}-")));
        assert_eq!(marked.count(), 2, "{workers:?}");
    }
    // By this, a run that is resumed knows them.
    let runs: std::collections::BTreeSet<_> = workers
        .iter()
        .filter_map(|worker| worker.split_once("-runner-"))
        .collect::<Vec<_>>()
        .into_iter()
        .map(|(run, _)| run)
        .collect();
    assert_eq!(runs.len(), 1, "{workers:?}");
    ended.every_rollout_succeeded_once(40);
    ended.nothing_is_left();
}

#[test]
fn a_durable_store_and_a_run_folder_can_be_used_again_at_once() {
    let scratch = Scratch::fast();
    let settings = json!({
        "store": format!("sqlite:{}", scratch.path("run.db").display()), "run_dir": scratch.path("run"),
        "tasks": 8,
    });
    for round in 1..=2 {
        let ended = start(&settings).end();
        assert!(ended.status.success(), "{:#?}", ended.said);
        // The store's file and the run folder are locked while it goes on.
        let locked = ended
            .said
            .iter()
            .filter_map(|line| line.strip_prefix("locked files: "));
        assert!(
            locked.clone().count() > 0 && locked.clone().all(|count| count == "2"),
            "{:#?}",
            ended.said
        );
        assert_eq!(ended.rollouts().len(), 8 * round);
        ended.no_attempt_is_open();
        ended.nothing_is_left();
    }
}

#[test]
fn runners_that_have_done_their_part_end_the_run() {
    let ended = start(&json!({"tasks": 9, "max_rollouts": 1, "restarts": 0})).end();
    assert!(!ended.status.success());
    assert!(
        ended.line("error: ").contains("`max_rollouts`"),
        "{:#?}",
        ended.said
    );
    let succeeded = ended
        .rollouts()
        .iter()
        .filter(|rollout| rollout.status == "succeeded")
        .count();
    assert_eq!(succeeded, 4);
    ended.nothing_is_left();
}

#[test]
fn a_program_that_ends_before_fit_in_its_runners_is_told_so() {
    let ended = start(&json!({"before": "return", "restarts": 1})).end();
    assert!(
        ended.line("error: ").contains("before it came to `fit`"),
        "{:#?}",
        ended.said
    );
    ended.nothing_is_left();
}

#[test]
fn runners_do_not_mistake_one_fit_for_another() {
    let ended = start(&json!({"before": "other", "restarts": 0, "runners": 1})).end();
    let errors: Vec<_> = ended
        .said
        .iter()
        .filter(|line| line.starts_with("error: "))
        .collect();
    assert!(
        errors.iter().any(|line| line.contains("exit status: 1")),
        "{errors:?}"
    );
    ended.nothing_is_left();
}

#[test]
fn what_the_environment_says_wrongly_is_refused_by_name() {
    for (name, value) in [("LIGHTNING_ROLE", "worker"), ("AGL_SERVER_PORT", "many")] {
        let ended = start_with(&json!({}), &[(name, value)]).end();
        assert!(ended.line("error: ").contains(name), "{:#?}", ended.said);
        assert!(!ended.status.success());
    }
    let ended = start_with(&json!({}), &[("LIGHTNING_RUNNER_PROCESS", "{}")]).end();
    assert!(
        ended.said.iter().all(|line| !line.starts_with("report:")),
        "{:#?}",
        ended.said
    );
    assert!(!ended.status.success());
}

#[test]
fn a_port_that_is_taken_is_told_before_anything_starts() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let ended = start(&json!({"port": port})).end();
    let error = ended.line("error: ");
    assert!(
        error.contains(&port.to_string()) && error.contains("choose another port"),
        "{error}"
    );
    assert!(
        !ended.said.iter().any(|line| line.contains("role runner")),
        "{:#?}",
        ended.said
    );
    ended.nothing_is_left();
}
