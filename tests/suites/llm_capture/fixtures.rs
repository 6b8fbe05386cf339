//! The hand-made exchanges under `fixtures/llm_wire`.

use std::{fs, path::Path};

use lightning_core::testing::ProxiedCall;
use serde_json::Value;

/// One file.
#[derive(Clone, Debug)]
pub(crate) struct Fixture {
    pub(crate) name: String,
    pub(crate) path: String,
    pub(crate) request: String,
    pub(crate) status: u16,
    pub(crate) response: String,
    /// What the spans must say.
    pub(crate) expected: Value,
}

impl Fixture {
    fn read(name: &str, text: &str) -> Self {
        let parts: Vec<&str> = text.split("\n== ").collect();
        let [head, request, response, expected] = parts[..] else {
            panic!("{name} has {} parts", parts.len())
        };
        assert!(head.starts_with("Hand-made"), "{name} does not say what it is");
        let (path, request) = request.strip_prefix("POST ").unwrap().split_once('\n').unwrap();
        let (status, response) = response.split_once('\n').unwrap();
        let (status, crlf) = match status.split_once(" => ") {
            Some((status, "crlf")) => (status, true),
            _ => (status, false),
        };
        // The blank line before the next part belongs to the last event.
        let response = if response.ends_with('\n') {
            format!("{response}\n")
        } else {
            response.to_owned()
        };
        Self {
            name: name.to_owned(),
            path: path.to_owned(),
            request: request.to_owned(),
            status: status.parse().unwrap(),
            response: if crlf {
                response.replace('\n', "\r\n")
            } else {
                response
            },
            expected: serde_json::from_str(expected.strip_prefix("spans\n").unwrap())
                .unwrap_or_else(|error| panic!("{name}: {error}")),
        }
    }

    pub(crate) fn call(&self) -> ProxiedCall {
        ProxiedCall::new(&self.path, self.request.as_str(), self.response.as_str()).status(self.status)
    }

    pub(crate) fn is_stream(&self) -> bool {
        self.response.starts_with(['d', 'e', ':'])
    }
}

pub(crate) fn all() -> Vec<Fixture> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/llm_wire");
    let mut fixtures: Vec<Fixture> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap();
            Fixture::read(name, &fs::read_to_string(&path).unwrap())
        })
        .collect();
    fixtures.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(fixtures.len() >= 20, "{}", fixtures.len());
    fixtures
}

pub(crate) fn named(name: &str) -> Fixture {
    all().into_iter().find(|fixture| fixture.name == name).unwrap()
}
