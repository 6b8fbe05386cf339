//! The program `lightning`, from the outside.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    net::TcpListener,
    process::{Child, Command, Output, Stdio},
};

use lightning_core::{
    client::StoreClient,
    store::{AttemptRef, Store},
    types::{
        AttemptPatch, AttemptStatus, Llm, NamedResources, NewRollout, PromptTemplate, RolloutMode, Span,
    },
};
use serde_json::{Value, json};

fn lightning() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lightning_under_test"));
    for variable in [
        "LIGHTNING_STORE_TOKEN",
        "LIGHTNING_STORE_URL",
        "LIGHTNING_LOG",
        "LIGHTNING_LOG_FORMAT",
    ] {
        command.env_remove(variable);
    }
    command.stdin(Stdio::null());
    command
}

/// A store that runs, and its address.
struct Running {
    process: Child,
    url: String,
}

impl Running {
    fn start(arguments: &[&str]) -> Self {
        Self::from(lightning().args(["store", "--port", "0"]).args(arguments))
    }

    fn from(command: &mut Command) -> Self {
        let mut process = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        let url = line.trim().split_once(" listens on ").map(|(_, url)| url);
        let url = url.unwrap_or_else(|| panic!("{line:?}")).to_owned();
        Self { process, url }
    }

    fn ask(&self, arguments: &[&str]) -> Output {
        lightning()
            .env("LIGHTNING_STORE_URL", &self.url)
            .args(arguments)
            .output()
            .unwrap()
    }

    /// Standard output of a command that goes well.
    fn tell(&self, arguments: &[&str]) -> String {
        let output = self.ask(arguments);
        assert!(
            output.status.success(),
            "{arguments:?} {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.tell(arguments)).unwrap()
    }

    #[cfg(unix)]
    fn stop(mut self, signal: &str) -> (Option<i32>, String) {
        let id = self.process.id().to_string();
        assert!(
            Command::new("kill")
                .args([signal, &id])
                .status()
                .unwrap()
                .success()
        );
        let status = self.process.wait().unwrap();
        let mut log = String::new();
        self.process
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut log)
            .unwrap();
        (status.code(), log)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn complaint(output: &Output) -> String {
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn what_is_in_a_store_can_be_looked_at() {
    let running = Running::start(&[]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (rollout, attempt) = runtime.block_on(async {
        let store = StoreClient::connect(&running.url).await.unwrap();
        let resources = NamedResources::new()
            .with("ask", PromptTemplate::new("Say {word}"))
            .with("main", Llm::new("http://x/v1", "m").with_api_key("sk-secret"));
        store.add_resources(resources).await.unwrap();
        store
            .enqueue_rollout(NewRollout::new(json!({"word": "later"})))
            .await
            .unwrap();
        let new = NewRollout::new(json!({"word": "now"})).mode(RolloutMode::Val);
        let started = store.start_rollout(new, Some("host-1".into())).await.unwrap();
        let (rollout, attempt) = (started.rollout_id.clone(), started.attempt.attempt_id.clone());
        let mut span = Span::new(rollout.clone(), attempt.clone(), 1, "t", "span-1", "model.call");
        span.attributes
            .insert("agentlightning.reward.0.value".to_owned(), json!(0.5));
        store.add_span(span).await.unwrap();
        let patch = AttemptPatch::status(AttemptStatus::Failed);
        store
            .update_attempt(rollout.clone(), AttemptRef::Latest, patch)
            .await
            .unwrap();
        (rollout.to_string(), attempt.to_string())
    });

    let table = running.tell(&["rollouts", "list"]);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 3, "{table}");
    assert!(
        lines[0].starts_with("ROLLOUT") && lines[1].starts_with(&rollout),
        "{table}"
    );
    for word in ["failed", "val", "host-1", r#"{"word":"now"}"#] {
        assert!(lines[1].contains(word), "{word} in {table}");
    }
    let first = running.tell(&["rollouts", "list", "--limit", "1"]);
    assert!(first.contains("(1 of 2;") && first.contains(&rollout), "{first}");
    let queued = running.json(&["rollouts", "list", "--status", "queuing", "--json"]);
    assert_eq!(queued["input"], json!({"word": "later"}));
    let shown = running.json(&["rollouts", "show", &rollout]);
    assert_eq!(
        (&shown["rollout"]["status"], &shown["attempts"][0]["attempt_id"]),
        (&json!("failed"), &json!(attempt))
    );

    let table = running.tell(&["spans", "list", &rollout, "--attempt", "latest"]);
    assert!(
        table
            .lines()
            .nth(1)
            .is_some_and(|line| line.contains("model.call") && line.ends_with("0.5")),
        "{table}"
    );
    assert_eq!(
        running.json(&["spans", "show", &rollout, "span-1"])["name"],
        "model.call"
    );

    let table = running.tell(&["workers", "list", "--status", "idle"]);
    assert!(
        table
            .lines()
            .nth(1)
            .is_some_and(|line| line.starts_with("host-1  idle")),
        "{table}"
    );
    assert_eq!(running.json(&["workers", "show", "host-1"])["status"], "idle");

    let table = running.tell(&["resources", "list"]);
    assert!(table.contains("ask (prompt_template), main (llm)"), "{table}");
    let latest = running.tell(&["resources", "show", "latest"]);
    assert!(
        latest.contains("[redacted]") && !latest.contains("sk-secret"),
        "{latest}"
    );
    assert!(
        !running
            .tell(&["resources", "list", "--json"])
            .contains("sk-secret")
    );
    let id = serde_json::from_str::<Value>(&latest).unwrap()["resources_id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(
        running.json(&["resources", "show", &id, "--at-version", "1"])["version"],
        1
    );

    for (arguments, expected) in [
        (&["rollouts", "show", "ro-x"][..], "there is no rollout ro-x"),
        (&["spans", "show", &rollout, "x"], "has no span x"),
        (&["workers", "show", "x"], "there is no worker x"),
        (&["resources", "show", &id, "--at-version", "9"], "in version 9"),
        (
            &["rollouts", "list", "--status", "lost"],
            "one of queuing, preparing",
        ),
        (&["rollouts", "list", "--limit", "0"], "--limit"),
    ] {
        let complaint = complaint(&running.ask(arguments));
        assert!(complaint.contains(expected), "{arguments:?}: {complaint}");
    }
}

#[test]
fn a_store_that_is_not_there_is_said_so_with_its_address() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://x:hidden@{free}");
    let ask = |arguments: &[&str]| {
        lightning()
            .env("LIGHTNING_STORE_URL", &url)
            .args(arguments)
            .output()
            .unwrap()
    };
    let complaint = complaint(&ask(&["rollouts", "list"]));
    assert!(
        complaint.contains(&free.to_string()) && complaint.contains("cannot connect"),
        "{complaint}"
    );
    assert!(!complaint.contains("hidden"), "{complaint}");
    let output = ask(&["doctor"]);
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        told.starts_with("FAIL") && told.contains("lightning store") && !told.contains("hidden"),
        "{told}"
    );
    // As an argument, others see it.
    for output in [
        lightning()
            .args(["rollouts", "list", "--url", &url])
            .output()
            .unwrap(),
        lightning().args(["doctor", &url]).output().unwrap(),
    ] {
        let told = [output.stdout, output.stderr].concat();
        let told = String::from_utf8_lossy(&told);
        assert!(
            !output.status.success() && told.contains("LIGHTNING_STORE_TOKEN"),
            "{told}"
        );
        assert!(!told.contains("hidden"), "{told}");
    }
}

#[test]
fn a_port_that_is_taken_is_said_so() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = lightning().args(["store", "--port", &port]).output().unwrap();
    let complaint = complaint(&output);
    assert!(
        complaint.contains(&format!("127.0.0.1:{port}")) && complaint.contains("or 0 for any"),
        "{complaint}"
    );
}

#[test]
fn other_machines_are_served_only_with_a_token() {
    let output = lightning()
        .args(["store", "--port", "0", "--host", "0.0.0.0"])
        .output()
        .unwrap();
    let told = complaint(&output);
    assert!(
        told.contains("set a token") && told.contains("--insecure"),
        "{told}"
    );
    let open = Running::start(&["--host", "0.0.0.0", "--insecure"]);
    open.tell(&["rollouts", "list"]);

    let folder = lightning_tests::scratch::Scratch::fast();
    let file = folder.path("tokens");
    let file = file.to_str().unwrap();
    let new = |role: &str| {
        let arguments = ["token", "new", "--role", role, "--name", role, "--file", file];
        let output = lightning().args(arguments).output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let (admin, runner, read) = (new("admin"), new("runner"), new("read"));
    let kept = std::fs::read_to_string(file).unwrap();
    assert_eq!(kept.lines().count(), 3);
    assert!(
        ![&admin, &runner, &read]
            .into_iter()
            .any(|token| kept.contains(token)),
        "{kept}"
    );

    let running = Running::start(&["--host", "0.0.0.0", "--token-file", file]);
    let refused = complaint(&running.ask(&["rollouts", "list"]));
    assert!(refused.contains("a token is needed"), "{refused}");
    let told = String::from_utf8(running.ask(&["doctor"]).stdout).unwrap();
    assert!(
        told.contains("FAIL") && told.contains("LIGHTNING_STORE_TOKEN"),
        "{told}"
    );
    let as_one = |token: &str, arguments: &[&str]| {
        lightning()
            .env("LIGHTNING_STORE_URL", &running.url)
            .env("LIGHTNING_STORE_TOKEN", token)
            .args(arguments)
            .output()
            .unwrap()
    };
    for token in [&admin, &read] {
        assert!(as_one(token, &["rollouts", "list"]).status.success());
    }
    let refused = complaint(&as_one(&runner, &["rollouts", "list"]));
    assert!(refused.contains("role `runner`"), "{refused}");
    // That a role may not look at everything is no defect of the store.
    for token in [&admin, &read, &runner] {
        let output = as_one(token, &["doctor"]);
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{told}");
        assert_eq!(token != &admin, told.contains("is not known: "), "{told}");
    }
    let kept_by_itself = folder.path("admin");
    std::fs::write(&kept_by_itself, format!("{admin}\n")).unwrap();
    running.tell(&[
        "rollouts",
        "list",
        "--token-file",
        kept_by_itself.to_str().unwrap(),
    ]);
    let refused = complaint(&running.ask(&["rollouts", "list", "--token-file", file]));
    assert!(
        refused.contains("more than one token") && !refused.contains("sha256"),
        "{refused}"
    );
}

#[test]
fn token_files_that_cannot_be_used_are_said_so_without_what_is_in_them() {
    let folder = lightning_tests::scratch::Scratch::fast();
    let file = folder.path("tokens");
    for (text, expected) in [
        ("hidden-hidden-hidden", "does not begin with a role"),
        ("", "there are no tokens"),
        ("admin hidden", "less than 16"),
    ] {
        std::fs::write(&file, text).unwrap();
        let output = lightning()
            .args(["store", "--port", "0", "--token-file"])
            .arg(&file)
            .output()
            .unwrap();
        let told = complaint(&output);
        assert!(told.contains(expected) && !told.contains("hidden"), "{told}");
    }
    // Nothing is added to a file of another kind.
    std::fs::write(&file, "hidden-hidden-hidden").unwrap();
    let arguments = ["token", "new", "--role", "read", "--file"];
    let told = complaint(&lightning().args(arguments).arg(&file).output().unwrap());
    assert!(told.contains("line 1") && !told.contains("hidden"), "{told}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "hidden-hidden-hidden");
    let told = complaint(
        &lightning()
            .args(["token", "new", "--role", "root", "--file", "x"])
            .output()
            .unwrap(),
    );
    assert!(told.contains("admin, runner, read"), "{told}");
}

#[cfg(unix)]
#[test]
fn a_store_reads_its_tokens_again_when_it_is_told_to_and_warns_of_others() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = lightning_tests::scratch::Scratch::fast();
    let file = folder.path("tokens");
    std::fs::write(&file, "admin first-first-first me\n").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let mut running = Running::start(&["--log-format", "json", "--token-file", file.to_str().unwrap()]);
    let mut log = BufReader::new(running.process.stderr.take().unwrap()).lines();
    let mut next = |message: &str| {
        log.by_ref()
            .map(Result::unwrap)
            .find(|line| line.contains(message))
            .unwrap_or_else(|| panic!("no {message:?} in the log"))
    };
    assert!(next("chmod 600").contains("644"));
    let opens = |token: &str| {
        let output = lightning()
            .env("LIGHTNING_STORE_URL", &running.url)
            .env("LIGHTNING_STORE_TOKEN", token)
            .args(["rollouts", "list"])
            .output();
        output.unwrap().status.success()
    };
    let hang_up = || {
        let id = running.process.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-HUP", &id])
                .status()
                .unwrap()
                .success()
        );
    };
    assert!(opens("first-first-first") && !opens("second-second-second"));
    std::fs::write(&file, "admin second-second-second me\n").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    hang_up();
    let line = next("read the tokens again");
    assert!(line.contains("admin me") && !line.contains("second"), "{line}");
    assert!(!opens("first-first-first") && opens("second-second-second"));
    // A file that is no good changes nothing.
    std::fs::write(&file, "nonsense").unwrap();
    hang_up();
    let line = next("the tokens stay as they were");
    assert!(line.contains("line 1"), "{line}");
    assert!(opens("second-second-second"));
}

#[test]
fn a_durable_store_has_everything_after_it_was_killed() {
    let folder = lightning_tests::scratch::Scratch::fast();
    let backend = format!("sqlite:{}", folder.path("store.db").display());
    let running = Running::start(&["--backend", &backend]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let id = runtime.block_on(async {
        let store = StoreClient::connect(&running.url).await.unwrap();
        store
            .enqueue_rollout(NewRollout::new(json!(1)))
            .await
            .unwrap()
            .rollout_id
    });
    assert!(running.tell(&["doctor"]).contains("survives its end"));
    // Dropping it kills it.
    drop(running);
    let running = Running::start(&["--backend", &backend]);
    assert_eq!(
        running.json(&["rollouts", "list", "--json"])["rollout_id"],
        json!(id)
    );
}

/// What a command says on both outputs, and whether it went well.
fn said(command: &mut Command) -> (bool, String) {
    let output = command.output().unwrap();
    let text = [&*output.stdout, &*output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

#[test]
fn a_whole_store_moves_between_kinds_and_what_is_old_can_be_taken_out() {
    let folder = lightning_tests::scratch::Scratch::fast();
    let path = |name: &str| folder.path(name).to_str().unwrap().to_owned();
    let running = Running::start(&[]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let store = StoreClient::connect(&running.url).await.unwrap();
        let resources =
            NamedResources::new().with("main", Llm::new("http://x/v1", "m").with_api_key("sk-secret"));
        store.add_resources(resources).await.unwrap();
        store
            .enqueue_rollout(NewRollout::new(json!("waits")))
            .await
            .unwrap();
        for number in 0..3 {
            let started = store
                .start_rollout(NewRollout::new(json!(number)), Some("w".into()))
                .await
                .unwrap();
            let (id, attempt) = (started.rollout_id.clone(), started.attempt.attempt_id.clone());
            store
                .add_span(Span::new(id.clone(), attempt, 1, "t", "s", "n"))
                .await
                .unwrap();
            let patch = AttemptPatch::status(AttemptStatus::Succeeded);
            store.update_attempt(id, AttemptRef::Latest, patch).await.unwrap();
        }
    });
    let (first, second, third) = (path("1.jsonl"), path("2.jsonl"), path("3.jsonl"));
    let (db, url) = (path("store.db"), format!("sqlite:{}", path("store.db")));
    let do_it = |arguments: &[&str]| {
        let (success, told) = said(lightning().arg("store").args(arguments));
        assert!(success, "{arguments:?}: {told}");
        told
    };
    let told = do_it(&["export", &running.url, "--output", &first]);
    assert!(
        told.contains("wrote 4 rollouts, 3 attempts, 3 spans, 1 versions of resources, 1 workers"),
        "{told}"
    );
    do_it(&["import", &url, "--input", &first]);
    assert!(do_it(&["check", &db]).contains("sound"));
    do_it(&["export", &url, "--output", &second]);
    let lines = std::fs::read_to_string(&first).unwrap();
    assert_eq!(std::fs::read_to_string(&second).unwrap(), lines);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(&first).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let told = do_it(&["import", &running.url, "--input", &first]);
    assert!(told.contains("9 records were there already"), "{told}");

    assert!(do_it(&["purge", &url, "--older-than", "1d"]).contains("took out 0 rollouts"));
    let told = do_it(&["archive", &url, "--older-than", "0s", "--output", &third]);
    assert!(
        told.contains("wrote 3 rollouts") && told.contains("took out 3 rollouts, 3 attempts, 3 spans"),
        "{told}"
    );
    assert!(do_it(&["check", &db]).contains("sound"));
    assert!(do_it(&["import", &url, "--input", &third]).contains("took in 3 rollouts"));
    assert!(do_it(&["check", &db]).contains("sound"));
    let told = do_it(&["purge", &url, "--older-than", "0s"]);
    assert!(told.contains("took out 3 rollouts"), "{told}");
    let refuse = |arguments: &[&str], part: &str| {
        let (success, told) = said(lightning().arg("store").args(arguments));
        assert!(!success && told.contains(part), "{arguments:?}: {told}");
    };
    refuse(&["export", &url, "--output", &first], "cannot make");
    std::fs::write(&second, &lines[..lines.len() / 2]).unwrap();
    refuse(&["import", &url, "--input", &second], "line ");
    std::fs::write(&second, lines.rsplit_once("{\"end\"").unwrap().0).unwrap();
    refuse(&["import", &url, "--input", &second], "cut off");
    std::fs::write(&second, "{}\n").unwrap();
    refuse(&["import", &url, "--input", &second], "no export of a store");
    std::fs::write(
        &second,
        lines.replace("\"status\":\"succeeded\"", "\"status\":\"running\""),
    )
    .unwrap();
    refuse(&["import", "memory:", "--input", &second], "refused");
    refuse(&["purge", &url, "--older-than", "soon"], "30d");
    refuse(&["check", &path("none.db")], "none.db");
}

#[test]
fn a_file_that_is_not_sound_is_said_so_violation_by_violation() {
    let folder = lightning_tests::scratch::Scratch::fast();
    let path = folder.path("store.db");
    let store = lightning_core::store::SqliteStore::open(&path).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime
        .block_on(store.enqueue_rollout(NewRollout::new(json!(1))))
        .unwrap();
    drop(store);
    let broken = rusqlite::Connection::open(&path).unwrap();
    broken
        .execute_batch("UPDATE rollouts SET queue_place = NULL; DELETE FROM inputs")
        .unwrap();
    drop(broken);
    let (success, told) = said(lightning().args(["store", "check"]).arg(&path));
    assert!(!success, "{told}");
    for problem in [
        "is not in the queue",
        "has no input",
        "the sums are",
        "3 problems",
    ] {
        assert!(told.contains(problem), "{problem:?} in {told}");
    }
}

#[test]
fn a_backend_that_is_none_is_said_so() {
    for (backend, expected) in [
        ("redis:", "memory:"),
        ("sqlite:", "sqlite:PATH"),
        ("http://x", "StoreClient"),
    ] {
        let output = lightning()
            .args(["store", "--port", "0", "--backend", backend])
            .output()
            .unwrap();
        let complaint = complaint(&output);
        assert!(
            complaint.contains("--backend") && complaint.contains(expected),
            "{complaint}"
        );
    }
}

#[test]
fn the_doctor_says_what_is_well_and_what_is_not() {
    let running = Running::start(&[]);
    let told = running.tell(&["doctor"]);
    for line in [
        "ok    http://127.0.0.1",
        "takes OTLP traces at http://127.0.0.1",
        "nothing waits for a worker",
    ] {
        assert!(told.contains(line), "{line} in\n{told}");
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let store = StoreClient::connect(&running.url).await.unwrap();
        store.enqueue_rollout(NewRollout::new(json!(1))).await.unwrap();
    });
    let told = running.tell(&["doctor", &running.url]);
    assert!(
        told.contains("warn  1 rollouts wait, and no worker was heard of"),
        "{told}"
    );
}

/// The blocks of the book's page that a shell can run, as one script.
fn script_of_the_book() -> String {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/src/run-a-store.md");
    let page = std::fs::read_to_string(page).unwrap();
    let blocks = page
        .split("```bash\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap());
    format!("set -euo pipefail\n{}", blocks.collect::<Vec<_>>().join("\n"))
}

#[test]
fn the_commands_of_the_book_work() {
    for program in ["bash", "curl", "jq"] {
        if Command::new(program)
            .arg("--version")
            .stdout(Stdio::null())
            .status()
            .is_err()
        {
            let _ = std::io::Write::write_all(
                &mut std::io::stderr(),
                format!("{program} is not there\n").as_bytes(),
            );
            return;
        }
    }
    let running = Running::start(&[]);
    let output = Command::new("bash")
        .args(["-c", &script_of_the_book()])
        .env("STORE", &running.url)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{told}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        told.ends_with("1.0\n{}") || told.ends_with("1\n{}"),
        "neither the reward nor that the traces are stored: {told}"
    );
    assert_eq!(
        running.json(&["rollouts", "list", "--json"])["status"],
        "succeeded"
    );
    let rollout = running.json(&["rollouts", "list", "--json"])["rollout_id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(running.tell(&["spans", "list", &rollout]).lines().count(), 3);
}

#[cfg(unix)]
#[test]
fn signals_stop_a_store_in_order_and_the_log_is_as_asked() {
    for signal in ["-TERM", "-INT"] {
        let running = Running::start(&["--log-format", "json", "--log-level", "lightning=info"]);
        let (code, log) = running.stop(signal);
        assert_eq!(code, Some(0), "{log}");
        let lines: Vec<Value> = log
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let messages: Vec<&str> = lines
            .iter()
            .filter_map(|line| line["fields"]["message"].as_str())
            .collect();
        assert_eq!(messages, ["listening", "draining"], "{log}");
    }
}
