//! Resources: their JSON form, how they are asked for, and that secrets stay secret.

use lightning_core::types::{
    AttemptId, JsonResource, Llm, NamedResources, OtherResource, PromptTemplate, ProxyLlm, Resource,
    ResourceError, ResourcesUpdate, RolloutId, Secret, TemplateEngine,
};
use serde_json::{Value, json};

const KEY: &str = "sk-do-not-show-me";

fn read(value: Value) -> Result<NamedResources, serde_json::Error> {
    serde_json::from_value(value)
}

fn problem(text: &str) -> String {
    serde_json::from_str::<NamedResources>(text)
        .unwrap_err()
        .to_string()
}

fn sample() -> NamedResources {
    NamedResources::new()
        .with(
            "main",
            Llm::new("http://127.0.0.1:8000/v1", "small").with_api_key(KEY),
        )
        .with("ask", PromptTemplate::new("Answer {question}"))
        .with("rules", json!({"threshold": 0.5, "names": ["a", "b"]}))
}

#[test]
fn each_kind_has_the_json_form_of_the_contract() {
    let resources = NamedResources::new()
        .with(
            "llm",
            Llm::new("http://h/v1", "m")
                .with_api_key(KEY)
                .with_sampling_parameter("temperature", 0.5),
        )
        .with("proxy", ProxyLlm::new("http://p/v1", "m"))
        .with("f", PromptTemplate::new("{x}"))
        .with("j", PromptTemplate::jinja("{{ x }}"))
        .with("p", PromptTemplate::with_engine("<poml/>", TemplateEngine::Poml))
        .with("any", json!([1, null]));
    let wire = json!({
        "llm": {"resource_type": "llm", "endpoint": "http://h/v1", "model": "m", "api_key": KEY,
                "sampling_parameters": {"temperature": 0.5}},
        "proxy": {"resource_type": "proxy_llm", "endpoint": "http://p/v1", "model": "m", "api_key": null,
                  "sampling_parameters": {}},
        "f": {"resource_type": "prompt_template", "template": "{x}", "engine": "f-string"},
        "j": {"resource_type": "prompt_template", "template": "{{ x }}", "engine": "jinja"},
        "p": {"resource_type": "prompt_template", "template": "<poml/>", "engine": "poml"},
        "any": {"resource_type": "json", "value": [1, null]},
    });
    assert_eq!(serde_json::to_value(&resources).unwrap(), wire);
    assert_eq!(read(wire).unwrap(), resources);
}

#[test]
fn unknown_kinds_and_unknown_fields_come_back_as_they_went_in() {
    let wire = json!({
        "adapter": {"resource_type": "lora", "rank": 8, "weights": {"path": "/w"}},
        "llm": {"resource_type": "llm", "endpoint": "http://h", "model": "m", "api_key": null,
                "sampling_parameters": {}, "context": 4096},
        "proxy": {"resource_type": "proxy_llm", "endpoint": "http://h", "model": "m", "api_key": null,
                  "sampling_parameters": {}, "context": 4096},
        "prompt": {"resource_type": "prompt_template", "template": "x", "engine": "jinja", "author": ["me"]},
        "rules": {"resource_type": "json", "value": 1, "schema": {"type": "integer"}},
    });
    let resources = read(wire.clone()).unwrap();
    assert_eq!(serde_json::to_value(&resources).unwrap(), wire);
    let Some(Resource::Other(OtherResource {
        resource_type,
        fields,
    })) = resources.resource("adapter")
    else {
        panic!("an unknown kind should be kept as such");
    };
    assert_eq!((resource_type.as_str(), &fields["rank"]), ("lora", &json!(8)));
    assert_eq!(resources.get::<Llm>("llm").unwrap().extra["context"], json!(4096));
}

#[test]
fn the_tag_is_not_taken_for_an_unknown_field() {
    let llm: Llm =
        serde_json::from_value(json!({"resource_type": "llm", "endpoint": "http://h", "model": "m"}))
            .unwrap();
    assert_eq!(
        serde_json::to_string(&Resource::from(llm))
            .unwrap()
            .matches("resource_type")
            .count(),
        1
    );
}

#[test]
fn an_update_holds_its_resources() {
    let wire = json!({"resources_id": "rs-1", "create_time": 1.0, "update_time": 2.0, "version": 3,
        "resources": {"x": {"resource_type": "json", "value": 1}}});
    let update: ResourcesUpdate = serde_json::from_value(wire.clone()).unwrap();
    assert_eq!(update.resources.json::<u8>("x").unwrap(), 1);
    assert_eq!(serde_json::to_value(update).unwrap(), wire);
}

#[test]
fn two_resources_of_one_name_are_refused() {
    let error = problem(
        r#"{"ask": {"resource_type": "json", "value": 1}, "ask": {"resource_type": "json", "value": 2}}"#,
    );
    assert!(
        error.starts_with("two resources are called `ask`; rename or remove one"),
        "{error}"
    );
}

#[test]
fn a_field_that_is_given_twice_is_refused() {
    let error = problem(r#"{"a": {"resource_type": "json", "value": 1, "value": 2}}"#);
    assert!(
        error.starts_with("the field `value` is given twice; remove one"),
        "{error}"
    );
}

#[test]
fn malformed_resources_say_what_is_wrong() {
    for (text, expected) in [
        (
            r#"{"a": {"value": 1}}"#,
            "a resource needs a `resource_type`: one of \"llm\"",
        ),
        (r#"{"a": {"resource_type": 1}}"#, "`resource_type` must be text"),
        (
            r#"{"a": {"resource_type": "llm", "model": "m"}}"#,
            "llm: missing field `endpoint`",
        ),
        (
            r#"{"a": {"resource_type": "llm", "model": 3, "endpoint": "e"}}"#,
            "llm, field `model`: invalid type: integer `3`, expected a string",
        ),
        (
            r#"{"a": {"resource_type": "prompt_template", "template": "x", "engine": "mustache"}}"#,
            "prompt_template, field `engine`: unknown variant `mustache`, expected one of `f-string`, `jinja`, `poml`",
        ),
        (
            r#"{"a": "http://h"}"#,
            "expected a resource, which is an object with a `resource_type`, and found text",
        ),
    ] {
        let error = problem(text);
        assert!(error.contains(expected), "{error}\nshould contain\n{expected}");
    }
}

#[test]
fn typed_getters_find_what_they_name() {
    let resources = sample();
    assert_eq!(resources.get::<Llm>("main").unwrap().model, "small");
    assert_eq!(
        resources.get::<JsonResource>("rules").unwrap().value["threshold"],
        json!(0.5)
    );
    assert_eq!(resources.llm().unwrap().model, "small");
    assert_eq!(resources.prompt_template().unwrap().template, "Answer {question}");

    #[derive(serde::Deserialize)]
    struct Rules {
        threshold: f64,
        names: Vec<String>,
    }
    let rules: Rules = resources.json("rules").unwrap();
    assert_eq!((rules.threshold, rules.names.len()), (0.5, 2));
}

#[test]
fn getters_name_the_resource_what_it_is_and_what_there_is() {
    let resources = sample();
    let says = |error: ResourceError, expected: &str| assert_eq!(error.to_string(), expected);
    says(
        resources.get::<Llm>("mian").unwrap_err(),
        "there is no resource `mian`; there are `ask` (prompt_template), `main` (llm), `rules` (json)",
    );
    says(
        resources.get::<PromptTemplate>("main").unwrap_err(),
        "the resource `main` is a llm, not a prompt_template",
    );
    says(
        resources.get::<Llm>("rules").unwrap_err(),
        "the resource `rules` is a json, not a llm; `json` reads it",
    );
    says(
        NamedResources::new().llm().unwrap_err(),
        "there is no resource of the kind llm; there are none",
    );
    says(
        NamedResources::new()
            .with("p", ProxyLlm::new("e", "m"))
            .get::<Llm>("p")
            .unwrap_err(),
        "the resource `p` is a proxy_llm, not a llm; `for_attempt` turns it into an llm whose calls are attributed",
    );
    says(
        resources.json::<Vec<u8>>("rules").unwrap_err(),
        "the resource `rules` cannot be read: invalid type: map, expected a sequence",
    );
    #[derive(Debug, serde::Deserialize)]
    struct Rules {
        #[expect(dead_code, reason = "only its type matters here")]
        names: Vec<u8>,
    }
    says(
        resources.json::<Rules>("rules").unwrap_err(),
        "the resource `rules` cannot be read, field `names[0]`: invalid type: string \"a\", expected u8",
    );
}

#[test]
fn of_several_the_one_called_as_its_kind_is_meant() {
    let two = NamedResources::new()
        .with("a", PromptTemplate::new("1"))
        .with("b", PromptTemplate::new("2"));
    assert_eq!(
        two.prompt_template().unwrap_err().to_string(),
        "several resources are of the kind prompt_template: `a`, `b`; ask for one by name, or call one \
         `prompt_template`"
    );
    let three = two.with("prompt_template", PromptTemplate::new("3"));
    assert_eq!(three.prompt_template().unwrap().template, "3");
}

#[test]
fn a_clone_shares_until_it_is_changed() {
    let first = sample();
    let second = first.clone().with("more", json!(1));
    assert_eq!((first.len(), second.len()), (3, 4));
}

#[test]
fn a_proxied_model_is_called_through_the_path_of_its_attempt() {
    let (rollout, attempt) = (RolloutId::from("ro-1"), AttemptId::from("at-2"));
    for (endpoint, expected) in [
        ("http://h:1", "http://h:1/rollout/ro-1/attempt/at-2"),
        ("http://h:1/", "http://h:1/rollout/ro-1/attempt/at-2"),
        ("http://h:1/v1", "http://h:1/rollout/ro-1/attempt/at-2/v1"),
        ("http://h:1/v1/", "http://h:1/rollout/ro-1/attempt/at-2/v1"),
        ("http://h:1/v2", "http://h:1/v2/rollout/ro-1/attempt/at-2"),
    ] {
        let resources = sample().with(
            "proxied",
            ProxyLlm::new(endpoint, "m")
                .with_api_key(KEY)
                .with_sampling_parameter("top_p", 0.9),
        );
        let resources = resources.for_attempt(&rollout, &attempt);
        let llm = resources.get::<Llm>("proxied").unwrap();
        assert_eq!(llm.endpoint, expected);
        assert_eq!(llm.api_key, Some(Secret::from(KEY)));
        assert_eq!(llm.sampling_parameters["top_p"], json!(0.9));
        assert_eq!(
            resources.get::<Llm>("main").unwrap(),
            sample().get::<Llm>("main").unwrap()
        );
    }
}

#[test]
fn a_secret_shows_on_the_wire_and_nowhere_else() {
    let resources = NamedResources::new()
        .with(
            "llm",
            Llm::new(format!("http://x:{KEY}@h/v1"), "m")
                .with_api_key(KEY)
                .with_sampling_parameter("temperature", 0.25)
                .with_sampling_parameter("extra_headers", json!({"Authorization": KEY})),
        )
        .with(
            "proxy",
            ProxyLlm::new(format!("http://{KEY}@h"), "m").with_api_key(KEY),
        )
        .with(
            "other",
            serde_json::from_value::<Resource>(json!({"resource_type": "vault", "token": KEY})).unwrap(),
        );
    for shown in [format!("{resources:?}"), format!("{resources:#?}")] {
        assert!(!shown.contains(KEY), "{shown}");
        for visible in [
            "[redacted]",
            "temperature",
            "0.25",
            "http://[redacted]@h/v1",
            "vault",
            "token",
        ] {
            assert!(shown.contains(visible), "{visible} should be in {shown}");
        }
    }
    assert_eq!(format!("{:?}", Some(Secret::from(KEY))), "Some([redacted])");
    assert_eq!(serde_json::to_string(&resources).unwrap().matches(KEY).count(), 6);
}

#[test]
fn errors_do_not_repeat_what_stands_where_a_secret_belongs() {
    for text in [
        r#"{"a": {"resource_type": "llm", "endpoint": "e", "model": "m", "api_key": 424242}}"#,
        r#"{"a": {"resource_type": "llm", "endpoint": "e", "model": "m", "api_key": ["424242"]}}"#,
        r#"{"a": {"resource_type": "llm", "endpoint": "e", "model": "m", "api_key": {"k": "424242"}}}"#,
        r#"{"a": {"resource_type": "llm", "endpoint": "e", "model": "m", "api_key": 424242.5}}"#,
        r#"{"a": "424242"}"#,
        r#""424242""#,
    ] {
        let error = serde_json::from_str::<NamedResources>(text).unwrap_err();
        for shown in [error.to_string(), format!("{error:?}")] {
            assert!(!shown.contains("424242"), "{shown}");
        }
    }
    assert!(
        problem(r#"{"a": {"resource_type": "llm", "endpoint": "e", "model": "m", "api_key": 1}}"#)
            .contains("a secret must be text")
    );
}
