//! A run folder in which another run was begun.

use std::path::Path;

use lightning_core::{
    agent::agent_fn,
    algorithm::{AlgoFuture, Algorithm, AlgorithmContext},
    prelude::*,
    trainer::{Resume, TrainerError},
    types::JsonObject,
};
use lightning_tests::scratch::Scratch;
use serde_json::json;

use super::{json_of, soon};

/// Says which state it found, and saves its own.
struct Search {
    version: &'static str,
    width: u64,
}

impl Algorithm<String> for Search {
    type Output = Option<u64>;

    fn name(&self) -> std::borrow::Cow<'static, str> {
        "search".into()
    }

    fn version(&self) -> &str {
        self.version
    }

    fn parameters(&self) -> Result<JsonObject, lightning_core::functional::ParamError> {
        Ok(JsonObject::from_iter([("width".to_owned(), json!(self.width))]))
    }

    fn run<'a>(&'a self, cx: &'a AlgorithmContext<String>) -> AlgoFuture<'a, Option<u64>> {
        Box::pin(async move {
            let run = cx.run()?;
            let checkpoint = run.checkpoint::<u64>();
            let found = checkpoint.load().await?;
            checkpoint.save(&self.width).await?;
            run.report_score(self.width as f64);
            Ok(found)
        })
    }
}

#[derive(Clone)]
struct Begun {
    version: &'static str,
    width: u64,
    seed: u64,
    tasks: Vec<String>,
    prompt: &'static str,
    resume: Resume,
}

fn begun() -> Begun {
    Begun {
        version: "1",
        width: 4,
        seed: 0,
        tasks: vec!["a".to_owned()],
        prompt: "Do {task}",
        resume: Resume::IfUnchanged,
    }
}

async fn fit(folder: &Path, begun: Begun) -> Result<(String, Option<u64>), TrainerError> {
    let trainer = Trainer::builder()
        .quiet()
        .algorithm(Search {
            version: begun.version,
            width: begun.width,
        })
        .initial_resources(NamedResources::new().with("prompt", PromptTemplate::new(begun.prompt)))
        .seed(begun.seed)
        .resume(begun.resume)
        .run_dir(folder)
        .build()
        .unwrap();
    let report = soon(trainer.fit(agent_fn(|_: String, _| async { 1.0 }), begun.tasks, None)).await?;
    Ok((report.run_id, report.output))
}

#[tokio::test]
async fn other_settings_are_refused_with_what_differs() {
    let scratch = Scratch::fast();
    let folder = scratch.path("run");
    fit(&folder, begun()).await.unwrap();
    let cases: [(Begun, &str); 5] = [
        (
            Begun {
                version: "2",
                ..begun()
            },
            "version: \"1\" before, \"2\" now",
        ),
        (Begun { width: 8, ..begun() }, "width: 4 before, 8 now"),
        (Begun { seed: 7, ..begun() }, "seed: 0 before, 7 now"),
        (
            Begun {
                tasks: vec!["b".to_owned()],
                ..begun()
            },
            "train_dataset: another one now",
        ),
        (
            Begun {
                prompt: "Do {task}!",
                ..begun()
            },
            "initial resource `prompt`: another one now",
        ),
    ];
    for (other, difference) in cases {
        let error = fit(&folder, other).await.unwrap_err().to_string();
        assert!(
            error.contains(difference) && error.contains("run.json"),
            "{error}"
        );
        assert_eq!(error.lines().count(), 2, "nothing else differs: {error}");
    }
    let (_, found) = fit(&folder, begun()).await.unwrap();
    assert_eq!(found, Some(4), "those that were refused left all as it was");
}

#[tokio::test]
async fn other_settings_are_accepted_where_that_is_wanted() {
    let scratch = Scratch::fast();
    let folder = scratch.path("run");
    let (first, _) = fit(&folder, begun()).await.unwrap();
    let wider = Begun {
        width: 8,
        resume: Resume::EvenIfChanged,
        ..begun()
    };
    let (second, found) = fit(&folder, wider).await.unwrap();
    assert_eq!((second, found), (first, Some(4)));
    assert_eq!(json_of(&folder, "run.json")["parameters"], json!({"width": 8}));
}

#[tokio::test]
async fn a_run_starts_over_where_that_is_wanted_and_nothing_is_lost() {
    let scratch = Scratch::fast();
    let folder = scratch.path("run");
    let (first, _) = fit(&folder, begun()).await.unwrap();
    let or_over = |width| Begun {
        width,
        resume: Resume::OrStartOver,
        ..begun()
    };
    let (same, found) = fit(&folder, or_over(4)).await.unwrap();
    assert_eq!((&same, found), (&first, Some(4)), "nothing differs");
    let (second, found) = fit(&folder, or_over(8)).await.unwrap();
    assert_ne!(second, first);
    assert_eq!(found, None);
    let earlier = folder.join("earlier").join(&first);
    assert_eq!(json_of(&earlier, "run.json")["run_id"], json!(first));
    assert!(earlier.join("store.db").exists() && earlier.join("metrics.jsonl").exists());
    let never = Begun {
        resume: Resume::Never,
        ..or_over(8)
    };
    let (third, found) = fit(&folder, never).await.unwrap();
    assert!(third != second && found.is_none());
    assert!(folder.join("earlier").join(second).exists());
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_refused_or_put_away() {
    let scratch = Scratch::fast();
    let folder = scratch.path("run");
    fit(&folder, begun()).await.unwrap();
    for damage in ["", "{\"format\":", "[]"] {
        std::fs::write(folder.join("run.json"), damage).unwrap();
        let error = fit(&folder, begun()).await.unwrap_err().to_string();
        assert!(
            error.contains("run.json") && error.contains("another run folder"),
            "{error}"
        );
        let over = Begun {
            resume: Resume::OrStartOver,
            ..begun()
        };
        fit(&folder, over).await.unwrap();
    }
    let put_away = std::fs::read_dir(folder.join("earlier")).unwrap().count();
    assert_eq!(put_away, 3);
}
