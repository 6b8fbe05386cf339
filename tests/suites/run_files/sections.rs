//! Sections of run files: conditions that are put together, prices, alerts, the proxy, the strategy; and programs that outlive
//! nobody.

use std::{fs, process::Stdio};

use lightning_core::testing::llm::{Reply, Script, ScriptedLlm};
use serde_json::json;

use crate::{Project, RUN, output, program, refused};

fn with(section: &str) -> Project {
    Project::new(&format!("{RUN}{section}\n"))
}

#[test]
fn conditions_may_be_put_together() {
    let both = with("stop_when: {all: [{rollouts: 2}, {any: [{seconds: 0.000001}, {score: 9}]}]}");
    // Attempts are counted soon after their rollouts have ended, so it may be a round or two later.
    let rounds = output(&both.run(&["--set", "algorithm.parameters.times=100000"]))["rounds"].as_u64();
    assert!(rounds.unwrap() < 100_000, "{rounds:?}");
    assert_eq!(both.json("out/report.json")["stopped"], "together");
    let one = with("stop_when: {all: [{rollouts: 2}, {score: 9}]}");
    assert_eq!(output(&one.run(&[]))["rounds"], 2);

    let wrong = with("stop_when: {any: [{rolouts: 2}, {file: stop}], all: []}");
    let complaint = refused(&wrong.run(&[]));
    assert!(
        complaint.contains("`stop_when.any[0].rolouts`: there is no such key, did you mean `rollouts`?"),
        "{complaint}"
    );
    assert!(
        complaint.contains("`stop_when.all`: this list is empty"),
        "{complaint}"
    );
    let explained = with("stop_when: {any: [{file: stop}]}").run(&["--explain"]);
    let explained = String::from_utf8(explained.stdout).unwrap();
    let line = explained
        .lines()
        .find(|line| line.starts_with("stop_when.any[0].file"))
        .unwrap();
    assert!(
        line.contains("run.yaml") && line.contains("/stop\""),
        "from the file's folder: {line}"
    );
}

#[test]
fn prices_stand_in_the_file_or_in_one_of_their_own() {
    let table = "{currency: EUR, models: {'small-*': {input: 1, output: 2}}}";
    let inline = with(&format!("prices: {table}\nstop_when: {{cost: 5}}"));
    output(&inline.run(&[]));
    assert_eq!(inline.json("out/report.json")["cost"]["currency"], "EUR");

    let file = with("prices: prices.yaml");
    file.write("prices.yaml", &table.replace("EUR", "USD"));
    output(&file.run(&[]));
    assert_eq!(file.json("out/report.json")["cost"]["currency"], "USD");

    for (section, complaints) in [
        ("stop_when: {any: [{cost: 5}]}", ["`stop_when`", "add `prices`"]),
        ("prices: nowhere.yaml", ["`prices`", "nowhere.yaml"]),
        (
            "prices: {currency: EUR, models: {a: {input: -1, output: 0}}}",
            ["`prices.models.a.input`", "-1 is too small"],
        ),
        (
            "prices: {currency: EUR, models: {a: {input: 1, outptu: 0}}}",
            ["`prices.models.a.outptu`", "did you mean `output`"],
        ),
    ] {
        let complaint = refused(&with(section).run(&[]));
        assert!(
            complaints.iter().all(|part| complaint.contains(part)),
            "{section}: {complaint}"
        );
    }
}

#[test]
fn alerts_that_have_not_cleared_show_in_the_status() {
    let tasks = "{\"text\": \"broken\", \"answer\": 2}\n".repeat(12);
    let project = |section: &str| {
        let project = with(section);
        project.write("tasks.jsonl", &tasks);
        project
    };
    let watched = project("");
    let run = watched.run(&[]);
    let shown = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(3), "{shown}");
    assert!(shown.contains("alert: "), "{shown}");
    assert_eq!(watched.json("out/report.json")["alerts"][0]["rule"], "failures");

    let unwatched = project("alerts: {failures: 1, no_reward_at_all: false}");
    assert_eq!(output(&unwatched.run(&[]))["sum"], 0.0);
    assert_eq!(unwatched.json("out/report.json")["alerts"], json!([]));

    let wrong = project("alerts: {failures: 2, webhok: x}");
    let complaint = refused(&wrong.run(&[]));
    for part in ["2 is too large", "did you mean `webhook`"] {
        assert!(complaint.contains(part), "{complaint}");
    }
    let secret = project("alerts: {webhook: 'https://example.org/key-9'}").run(&["--explain"]);
    let explained = String::from_utf8(secret.stdout).unwrap();
    assert!(
        explained.contains("alerts.webhook") && !explained.contains("key-9"),
        "{explained}"
    );
}

#[test]
fn the_proxy_of_a_run_stands_before_its_models() {
    let server = ScriptedLlm::start(Script::new().otherwise(Reply::text("four").usage(5, 2))).unwrap();
    let models = format!(
        "models: [{{name: small, backends: [{{base_url: '{}'}}]}}]",
        server.base_url()
    );
    let project = with(&format!(
        "proxy: {{{models}}}\nprices: {{currency: EUR, models: {{small: {{input: 1000000, output: 0}}}}}}"
    ));
    let run = project.run(&["--set", "agent=ask"]);
    assert_eq!(output(&run)["sum"], 16.0);
    let report = project.json("out/report.json");
    assert_eq!(
        (&report["model_usage"][0]["calls"], &report["cost"]["amount"]),
        (&json!(4), &json!(20.0)),
        "{report}"
    );
    assert_eq!(server.calls().len(), 4);

    let wrong = with("proxy: {models: [{name: small, backends: [{base_ulr: x}]}]}");
    let complaint = refused(&wrong.run(&[]));
    assert!(
        complaint.contains("`proxy.models`") && complaint.contains("base_ulr"),
        "{complaint}"
    );
}

#[test]
fn runners_may_be_processes_of_their_own() {
    let project = with("strategy: {name: client_server, runners_per_process: 1}");
    assert_eq!(output(&project.run(&[]))["sum"], 12.0);
    assert_eq!(project.json("out/report.json")["rollouts"]["succeeded"], 4);

    for (section, part) in [
        (
            "strategy: {name: shared_memory, restarts: 3}",
            "`strategy.restarts`: this needs the strategy `client_server`",
        ),
        (
            "strategy: {name: cluster}",
            "`strategy.name`: there is no `cluster`",
        ),
        (
            "strategy: {name: client_server, role: boss}",
            "`strategy.role`: there is no `boss`",
        ),
    ] {
        let complaint = refused(&with(section).run(&[]));
        assert!(complaint.contains(part), "{section}: {complaint}");
    }
    let program = with("strategy: {name: client_server}").run(&["--set", "agent={command: [sleep]}"]);
    assert!(refused(&program).contains("in processes of its own already"));
}

/// Reading a fifo ends when nobody has it open for writing any more: neither the program nor what it has started.
#[cfg(unix)]
#[test]
fn programs_end_when_the_run_is_killed() {
    let script = "exec 3>fifo; sleep 1000 & echo started >&3; trap '' TERM; while :; do sleep 1000; done";
    let project = Project::new(&RUN.replace(
        "agent: answer",
        &format!("agent: {{command: [sh, -c, \"{script}\"]}}"),
    ));
    let fifo = project.path("fifo");
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    let mut run = program(&["run", &project.path("run.yaml"), "--runners", "1"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (told, hears) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        use std::io::{BufRead as _, BufReader, Read as _};
        let mut fifo = BufReader::new(fs::File::open(fifo).unwrap());
        let mut line = String::new();
        fifo.read_line(&mut line).unwrap();
        told.send(line).unwrap();
        let mut rest = String::new();
        fifo.read_to_string(&mut rest).unwrap();
        told.send(rest).unwrap();
    });
    let patience = std::time::Duration::from_secs(120);
    let started = hears.recv_timeout(patience);
    run.kill().unwrap();
    run.wait().unwrap();
    assert_eq!(started.unwrap(), "started\n");
    assert_eq!(hears.recv_timeout(patience).expect("all of them end"), "");
}
