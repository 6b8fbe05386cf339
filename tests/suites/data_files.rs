//! Datasets and resources from files: what is read, and what is said about files that cannot be.

use std::{
    collections::BTreeSet,
    fs,
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
};

use lightning_core::{
    data::{DataError, TaskFile},
    types::{Dataset, NamedResources},
};
use proptest::prelude::*;
use rand::{SeedableRng as _, rngs::StdRng};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Task {
    question: String,
    answer: i64,
}

fn task(question: &str, answer: i64) -> Task {
    Task {
        question: question.to_owned(),
        answer,
    }
}

/// A file that is removed at the end of its test.
struct File(PathBuf);

impl File {
    fn new(name: &str, contents: impl AsRef<[u8]>) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("lightning-data-{}-{count}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join(name);
        fs::write(&path, contents).unwrap();
        Self(path)
    }

    fn tasks(&self) -> Result<Dataset<Task>, DataError> {
        Dataset::from_file(&self.0)
    }

    /// What is said about the file, without the folder that it is in.
    fn problem(&self) -> String {
        let folder = format!("{}/", self.0.parent().unwrap().display());
        self.tasks().unwrap_err().to_string().replace(&folder, "")
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.0.parent().unwrap());
    }
}

#[test]
fn every_format_gives_the_same_tasks() {
    let files = [
        File::new(
            "t.jsonl",
            "{\"question\":\"2+2\",\"answer\":4}\n{\"question\":\"ü, \\\"x\\\"\",\"answer\":-1}\n",
        ),
        File::new(
            "t.json",
            r#"[{"question":"2+2","answer":4},{"question":"ü, \"x\"","answer":-1}]"#,
        ),
        File::new(
            "t.yaml",
            "- question: 2+2\n  answer: 4\n- question: 'ü, \"x\"'\n  answer: -1\n",
        ),
        File::new(
            "t.toml",
            "[[tasks]]\nquestion = \"2+2\"\nanswer = 4\n[[tasks]]\nquestion = 'ü, \"x\"'\nanswer = -1\n",
        ),
        File::new("t.csv", "question,answer\n2+2,4\n\"ü, \"\"x\"\"\",-1\n"),
    ];
    let expected = Dataset::from(vec![task("2+2", 4), task("ü, \"x\"", -1)]);
    for file in files {
        assert_eq!(
            file.tasks().unwrap_or_else(|error| panic!("{error}")),
            expected,
            "{}",
            file.0.display()
        );
    }
}

#[test]
fn byte_order_marks_carriage_returns_and_empty_lines_are_passed_over() {
    let text = "\u{feff}{\"question\":\"a\",\"answer\":1}\r\n\r\n   \r\n{\"question\":\"b\",\"answer\":2}";
    assert_eq!(File::new("t.jsonl", text).tasks().unwrap().len(), 2);
    let text = "\u{feff}question,answer\r\na,1\r\nb,2\r\n";
    assert_eq!(File::new("t.csv", text).tasks().unwrap().len(), 2);
}

#[test]
fn a_very_long_line_is_read() {
    let long = "x".repeat(5_000_000);
    let file = File::new("t.jsonl", format!("{{\"question\":\"{long}\",\"answer\":1}}\n"));
    assert_eq!(file.tasks().unwrap()[0].question.len(), 5_000_000);
}

#[test]
fn a_file_that_is_not_there_is_named_with_where_it_was_looked_for() {
    let error = Dataset::<Task>::from_file("no/such/tasks.jsonl").unwrap_err();
    let directory = std::env::current_dir().unwrap();
    assert!(matches!(error, DataError::NotFound { .. }));
    let expected = format!(
        "there is no file `no/such/tasks.jsonl` in `{}`; give a path that exists",
        directory.display()
    );
    assert_eq!(error.to_string(), expected);
}

#[test]
fn an_extension_that_says_nothing_is_refused_with_those_that_do() {
    let problem = File::new("t.txt", "").problem();
    assert!(
        problem.contains("t.txt") && problem.contains(".jsonl"),
        "{problem}"
    );
}

#[test]
fn a_malformed_line_is_named_with_file_line_and_field() {
    let good = "{\"question\":\"a\",\"answer\":1}\n";
    let problem = File::new(
        "t.jsonl",
        format!("{good}{good}{{\"question\":\"b\",\"answer\":\"two\"}}\n"),
    )
    .problem();
    assert!(problem.starts_with("t.jsonl:3:"), "{problem}");
    assert!(problem.contains("field `answer`"), "{problem}");
    let problem = File::new("t.jsonl", format!("{good}{{\"question\":\n")).problem();
    assert!(problem.starts_with("t.jsonl:2"), "{problem}");
    let problem = File::new("t.jsonl", format!("{good}{{\"question\":\"c\"}}\n")).problem();
    assert!(
        problem.contains("t.jsonl:2") && problem.contains("missing field `answer`"),
        "{problem}"
    );
}

#[test]
fn a_malformed_entry_of_each_other_format_is_named_with_its_field() {
    let files = [
        File::new(
            "t.json",
            r#"[{"question":"a","answer":1},{"question":"b","answer":"two"}]"#,
        ),
        File::new(
            "t.yaml",
            "- question: a\n  answer: 1\n- question: b\n  answer: two\n",
        ),
        File::new(
            "t.toml",
            "[[tasks]]\nquestion = \"a\"\nanswer = 1\n[[tasks]]\nquestion = \"b\"\nanswer = \"two\"\n",
        ),
        File::new("t.csv", "question,answer\na,1\nb,two\n"),
    ];
    for file in files {
        let problem = file.problem();
        let name = file.0.file_name().unwrap().to_str().unwrap();
        assert!(
            problem.starts_with(name) && problem.contains("answer"),
            "{problem}"
        );
    }
}

#[test]
fn bytes_that_are_no_text_are_refused_with_the_file() {
    for name in ["t.jsonl", "t.json", "t.yaml", "t.toml", "t.csv"] {
        let problem = File::new(name, b"\xff\xfe\x00{").problem();
        assert!(problem.contains(name), "{problem}");
    }
}

#[test]
fn an_empty_file_is_refused_unless_it_may_be_empty() {
    for name in ["t.jsonl", "t.json", "t.yaml", "t.toml", "t.csv"] {
        let file = File::new(name, "");
        assert!(matches!(file.tasks(), Err(DataError::Empty { .. })), "{name}");
        let tasks: Vec<Task> = TaskFile::new(&file.0).may_be_empty().read().unwrap();
        assert!(tasks.is_empty(), "{name}");
    }
}

#[test]
fn resources_come_from_files_and_two_of_one_name_are_refused() {
    let prompt =
        |text: &str| format!(r#""prompt": {{"resource_type": "prompt_template", "template": "{text}"}}"#);
    let file = File::new("r.json", format!("{{{}}}", prompt("Say {x}")));
    let resources = NamedResources::from_file(&file.0).unwrap();
    assert_eq!(resources.prompt_template().unwrap().template, "Say {x}");
    let file = File::new("r.json", format!("{{{}, {}}}", prompt("a"), prompt("b")));
    let problem = NamedResources::from_file(&file.0).unwrap_err().to_string();
    assert!(
        problem.contains("r.json") && problem.contains("two resources are called `prompt`"),
        "{problem}"
    );
    let yaml = "prompt:\n  resource_type: prompt_template\n  template: a\nprompt:\n  resource_type: json\n  value: 1\n";
    let problem = NamedResources::from_file(&File::new("r.yaml", yaml).0)
        .unwrap_err()
        .to_string();
    assert!(problem.contains("prompt"), "{problem}");
}

#[test]
fn a_malformed_resource_does_not_give_its_key_away() {
    let text = "{\"llm\": {\"resource_type\": \"llm\", \"endpoint\": 1, \"model\": \"m\", \"api_key\": \"sk-secret\"}}";
    for (name, text) in [("r.json", text.to_owned()), ("r.yaml", text.to_owned())] {
        let error = NamedResources::from_file(&File::new(name, text).0).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("sk-secret"), "{shown}");
    }
}

#[test]
fn a_share_beyond_the_whole_is_refused() {
    let tasks = Dataset::from([1, 2, 3]);
    assert!(tasks.split(1.5, 0).unwrap_err().to_string().contains("1.5"));
    assert!(tasks.split(f64::NAN, 0).is_err());
}

proptest! {
    #[test]
    fn a_split_shares_nothing_and_loses_nothing(size in 0_usize..60, share in 0.0..=1.0, seed: u64) {
        let tasks: Dataset<usize> = (0..size).collect();
        let (first, second) = tasks.split(share, seed).unwrap();
        prop_assert_eq!(first.len(), (size as f64 * share).round() as usize);
        let all: BTreeSet<usize> = first.iter().chain(&second).copied().collect();
        prop_assert_eq!(all.len(), size);
        prop_assert_eq!(first.len() + second.len(), size);
    }

    #[test]
    fn every_epoch_has_every_task_once(size in 0_usize..60, batch in 0_usize..20, epochs in 0_usize..4, seed: u64) {
        let tasks: Dataset<usize> = (0..size).collect();
        let batches = || tasks.batches(batch, StdRng::seed_from_u64(seed)).epochs(epochs);
        let mut seen = vec![Vec::new(); epochs];
        for one in batches() {
            prop_assert!(one.tasks.len() <= batch.max(1) && !one.tasks.is_empty());
            seen[one.epoch].extend(one.tasks.iter().copied());
        }
        for mut epoch in seen {
            epoch.sort_unstable();
            prop_assert!(epoch.into_iter().eq(0..size));
        }
        prop_assert!(batches().eq(batches()), "the seed decides");
    }
}
