//! Run files that change while their runs go on.

use std::{
    fs,
    io::{self, BufRead as _, BufReader, Read as _, Write},
    process::Stdio,
    sync::{Mutex, PoisonError},
};

use lightning_core::{
    config::{Overrides, Run, RunFile, Setup},
    logging::Logging,
    prelude::*,
    registry::Registry,
    terminal::Screen,
    types::NewRollout,
};
use serde_json::{Value, json};
use tokio::sync::{Barrier, mpsc};
use tracing_subscriber::layer::SubscriberExt as _;

use crate::{Project, RUN};

/// How many rollouts have to be under way at once.
const TOGETHER: usize = 3;

#[derive(Clone, Inject)]
struct Meeting(Arc<Barrier>);

/// Ends when enough others are there.
#[rollout]
async fn meet(task: &Value, #[inject] meeting: Meeting) -> f64 {
    let _ = task;
    meeting.0.wait().await;
    1.0
}

/// Has the agents meet, and then waits until it is to stop.
#[algo]
async fn gather(run: RunContext, store: Arc<dyn Store>) -> anyhow::Result<String> {
    let new = (0..TOGETHER).map(|_| NewRollout::new(json!(null))).collect();
    let made = store.enqueue_many_rollouts(new).await?;
    let ids: Vec<_> = made.into_iter().map(|rollout| rollout.rollout_id).collect();
    store.wait_for_rollouts(&ids, None).await?;
    loop {
        if let Some(reason) = run.should_stop() {
            return Ok(format!("{reason:?}"));
        }
        tokio::task::yield_now().await;
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn file(changeable: &str) -> String {
    format!("algorithm: gather\nagent: meet\nrun_dir: out\nquiet: true\n{changeable}")
}

#[tokio::test]
async fn what_can_change_while_a_run_goes_on_does() {
    let project = Project::new(&file("n_runners: 1\nlog: {levels: 'off'}\n"));
    let log = Log::default();
    let logging = Logging::new()
        .levels("off")
        .unwrap()
        .screen(Screen::plain(log.clone()));
    let levels = logging.handle();
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(logging.layer()));

    let registry = Registry::shipped()
        .algorithm(gather::algorithm())
        .agent(meet::agent());
    let meeting = Meeting(Arc::new(Barrier::new(TOGETHER)));
    let setup = Setup::new(registry).trainer(move |trainer| trainer.extension(meeting.clone()));
    let overrides = Overrides::new();
    let loaded = RunFile::load(project.path("run.yaml"), &overrides, setup.registry()).unwrap();
    let (changed, changes) = mpsc::channel(1);
    let run = Run::new(loaded, overrides, &setup)
        .reload_on(changes)
        .levels(levels);

    // Each change is seen to have had an effect before the next: at the logs, and in the folder of the run.
    let kept = |version: &str| project.0.path("out/config").join(version).exists();
    let edits = async {
        let until = async |done: &dyn Fn() -> bool| {
            while !done() {
                tokio::task::yield_now().await;
            }
        };
        until(&|| kept("0001.json")).await;
        project.write("run.yaml", &file("n_runners: 1\nlog: {levels: info}\n"));
        changed.send(()).await.unwrap();
        until(&|| kept("0002.json")).await;
        project.write("run.yaml", "n_runners: [");
        changed.send(()).await.unwrap();
        until(&|| log.text().contains("goes on with the last version")).await;
        project.write("run.yaml", &file("n_runners: 3\nseed: 9\n"));
        changed.send(()).await.unwrap();
        until(&|| kept("0003.json")).await;
        project.write(
            "run.yaml",
            &file("n_runners: 3\nseed: 9\nstop_when: {rollouts: 3}\n"),
        );
        changed.send(()).await.unwrap();
        std::future::pending::<()>().await;
    };
    let report = tokio::select! {
        report = run.run() => report.unwrap(),
        () = edits => unreachable!(),
    };
    assert_eq!(report.output, json!("Rollouts"));

    let record = project.json("out/run.json");
    let changes: Vec<&Value> = record["configuration"]
        .as_array()
        .unwrap()
        .iter()
        .map(|version| &version["changes"])
        .collect();
    let expected = [
        json!([]),
        json!(["log.levels: \"off\" -> \"info\""]),
        json!(["log.levels: \"info\" -> (not set)", "n_runners: 1 -> 3"]),
        json!(["stop_when.rollouts: (not set) -> 3"]),
    ];
    assert_eq!(changes, expected.iter().collect::<Vec<_>>());
    assert_eq!(record["seed"], 0);
    let last = project.json("out/config/0004.json");
    assert_eq!(
        (&last["n_runners"], &last["stop_when"]["rollouts"]),
        (&json!(3), &json!(3))
    );
    assert_eq!(last.get("seed"), None, "what cannot change has not");

    let log = log.text();
    assert!(
        !log.contains("key=log.levels before=\"\\\"off"),
        "the levels were off: {log}"
    );
    for part in ["key=n_runners", "key=seed", "it counts from the next run on"] {
        assert!(log.contains(part), "{part}: {log}");
    }
}

#[test]
fn a_file_that_is_replaced_is_noticed() {
    let endless = RUN
        .replace("times: 2", "times: 1000000000")
        .replace("run_dir: out\n", "");
    let project = Project::new(&endless);
    let mut command = project.command(&[]);
    let mut process = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut shown = BufReader::new(process.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("runners") {
        line.clear();
        assert!(shown.read_line(&mut line).unwrap() > 0, "the run should begin");
    }
    // As editors do it.
    let aside = project.write("run.yaml.new", &format!("{endless}stop_when: {{rollouts: 1}}\n"));
    fs::rename(aside, project.path("run.yaml")).unwrap();
    let rest = std::thread::spawn(move || {
        let mut rest = String::new();
        let _ = shown.read_to_string(&mut rest);
        rest
    });
    let output = process.wait_with_output().unwrap();
    let rest = rest.join().unwrap();
    assert!(output.status.success(), "{rest}");
    assert!(
        rest.contains("the run file changed") && rest.contains("key=stop_when.rollouts"),
        "{rest}"
    );
}
