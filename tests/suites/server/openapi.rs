//! The description for programs: against the reference's, and against what the server really does.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{fields::routes, raw::Server};

#[derive(Deserialize)]
struct Golden {
    routes: BTreeMap<String, GoldenRoute>,
    schemas: BTreeMap<String, GoldenSchema>,
}

#[derive(Deserialize)]
struct GoldenRoute {
    parameters: Vec<(String, String, bool)>,
    body: Option<Vec<String>>,
    status: String,
}

#[derive(Deserialize)]
struct GoldenSchema {
    properties: BTreeMap<String, Vec<String>>,
    required: BTreeSet<String>,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../../golden/openapi.json")).unwrap()
}

/// What a value may be: JSON types, and names of schemas; words are text.
fn kinds(document: &Value, schema: &Value) -> BTreeSet<String> {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.rsplit('/').next().unwrap();
        let target = &document["components"]["schemas"][name];
        assert!(target.is_object(), "there is no schema {name}");
        return [if target["enum"].is_array() { "string" } else { name }.to_owned()].into();
    }
    if let Some(options) = schema["anyOf"].as_array() {
        return options
            .iter()
            .flat_map(|option| kinds(document, option))
            .collect();
    }
    [schema["type"].as_str().unwrap_or("any").to_owned()].into()
}

async fn document(server: &Server) -> Value {
    server.get("/v1/openapi.json").await.expect(200)
}

#[tokio::test]
async fn every_route_parameter_and_field_of_the_reference_is_there() {
    let document = document(&Server::start().await).await;
    let golden = golden();
    for (route, theirs) in golden.routes {
        let (method, path) = route.split_once(' ').unwrap();
        let ours = &document["paths"][path][method.to_lowercase()];
        assert!(ours.is_object(), "{route} is missing");
        let parameters = ours["parameters"].as_array().unwrap().iter();
        let parameters: BTreeSet<(String, String, bool)> = parameters
            .map(|parameter| {
                serde_json::from_value(json!([parameter["name"], parameter["in"], parameter["required"]]))
                    .unwrap()
            })
            .collect();
        for parameter in theirs.parameters {
            assert!(parameters.contains(&parameter), "{route} lacks {parameter:?}");
        }
        if !path.starts_with("/v1/agl") {
            continue;
        }
        assert!(
            ours["responses"][&theirs.status].is_object(),
            "{route} does not answer {}",
            theirs.status
        );
        let body = &ours["requestBody"]["content"]["application/json"]["schema"];
        match theirs.body {
            None => assert!(body.is_null(), "{route}"),
            Some(body_kinds) => assert_eq!(
                kinds(&document, body),
                body_kinds.into_iter().collect(),
                "{route}"
            ),
        }
    }
    for (name, theirs) in golden.schemas {
        let ours = &document["components"]["schemas"][&name];
        assert!(ours.is_object(), "the schema {name} is missing");
        for (property, of) in theirs.properties {
            let found = &ours["properties"][&property];
            assert!(found.is_object(), "{name}.{property} is missing");
            assert_eq!(
                kinds(&document, found),
                of.into_iter().collect(),
                "{name}.{property}"
            );
        }
        // What the reference may leave out, we must not ask for.
        let required: BTreeSet<String> = serde_json::from_value(ours["required"].clone()).unwrap();
        assert!(required.is_subset(&theirs.required), "{name}: {required:?}");
    }
}

#[tokio::test]
async fn every_schema_that_is_named_is_there() {
    let document = document(&Server::start().await).await;
    let mut rest = vec![&document];
    let mut names = 0;
    while let Some(value) = rest.pop() {
        if value["$ref"].is_string() {
            kinds(&document, value);
            names += 1;
        }
        rest.extend(value.as_object().into_iter().flat_map(|object| object.values()));
        rest.extend(value.as_array().into_iter().flatten());
    }
    assert!(names > 100, "{names}");
}

#[tokio::test]
async fn what_is_described_is_what_there_is() {
    let server = Server::start().await;
    let document = document(&server).await;
    for (path, methods) in document["paths"].as_object().unwrap() {
        let real = path.replace("{rollout_id}", "x").replace("{attempt_id}", "x");
        let real = real.replace("{worker_id}", "x").replace("{resources_id}", "x");
        for method in methods.as_object().unwrap().keys() {
            let answer = match method.as_str() {
                "get" => server.get(&real).await,
                _ => server.post(&real, &json!({"wait": 0})).await,
            };
            assert!(answer.status != 405, "{method} {path}");
            assert!(
                answer.status != 404 || answer.text().contains("not found") || answer.text().contains("Item"),
                "{method} {path}"
            );
        }
    }
    // Every field that the server checks is described, and the other way round.
    for route in routes() {
        let path = route
            .path
            .replace("{rollout}", "{rollout_id}")
            .replace("/{attempt}", "/{attempt_id}");
        let path = path.replace("/attempts/latest", "/attempts/{attempt_id}");
        let path = path
            .replace("/workers/w", "/workers/{worker_id}")
            .replace("/resources/mine", "/resources/{resources_id}");
        let body = &document["paths"][format!("/v1/agl{path}")]["post"]["requestBody"]["content"]["application/json"];
        let schema = body["schema"]["anyOf"].get(0).unwrap_or(&body["schema"]);
        let Some(name) = schema["$ref"].as_str() else {
            assert!(path.starts_with("/resources"), "{path}");
            continue;
        };
        let schema = &document["components"]["schemas"][name.rsplit('/').next().unwrap()];
        let described: BTreeSet<&str> = schema["properties"]
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        let checked: BTreeSet<&str> = route
            .fields
            .iter()
            .map(|field| field.0.split('.').next().unwrap())
            .collect();
        assert_eq!(described, checked, "{path}");
        for field in &route.fields {
            let required = schema["required"].as_array().unwrap().contains(&json!(field.0));
            assert!(field.0.contains('.') || required == field.2, "{path} {}", field.0);
        }
    }
}
