//! Prompt templates: Python's answers, Jinja, messages, and bounds.

use lightning_core::{
    template::{MAX_OUTPUT_BYTES, MAX_WIDTH, TemplateError, format_python},
    types::{JsonObject, PromptTemplate, TemplateEngine},
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn object(value: Value) -> JsonObject {
    match value {
        Value::Object(object) => object,
        other => panic!("{other} should be an object"),
    }
}

/// The exceptions that Python may raise where we give this error.
fn exceptions(error: &TemplateError) -> &'static [&'static str] {
    match error {
        TemplateError::UnknownPlaceholder { .. } => &["KeyError"],
        TemplateError::UnknownPosition { .. } => &["IndexError"],
        TemplateError::Part { .. } => &["AttributeError", "IndexError", "KeyError", "TypeError"],
        TemplateError::Format { .. } => &["OverflowError", "TypeError", "ValueError"],
        TemplateError::Syntax { .. } => &["ValueError"],
        _ => &[],
    }
}

#[test]
fn every_answer_is_that_of_python() {
    let cases: Vec<Vec<Value>> = serde_json::from_str(include_str!("../golden/python_format.json")).unwrap();
    assert!(
        cases.len() > 1000,
        "the golden file has shrunk to {} cases",
        cases.len()
    );
    let mut wrong = Vec::new();
    for case in &cases {
        let template = case[0].as_str().unwrap();
        let positional = case[1].as_array().unwrap();
        let ours = format_python(template, positional, &object(case[2].clone()));
        let same = match (&ours, case.get(4)) {
            (Ok(text), None) => case[3].as_str() == Some(text),
            (Err(error), Some(exception)) => exceptions(error).contains(&exception.as_str().unwrap()),
            _ => false,
        };
        if !same {
            wrong.push(format!("{} gives {ours:?}", Value::from(case.clone())));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
}

/// What is said when the template is rendered from `values`.
fn problem(template: &str, values: Value) -> String {
    PromptTemplate::new(template)
        .render(&values)
        .unwrap_err()
        .to_string()
}

#[test]
fn values_come_from_structs_maps_and_lists() {
    #[derive(serde::Serialize)]
    struct Values<'a> {
        question: &'a str,
        limit: Option<u32>,
    }
    let prompt = PromptTemplate::new("{question} {limit}");
    let values = Values {
        question: "why?",
        limit: None,
    };
    assert_eq!(prompt.render(&values).unwrap(), "why? None");
    assert_eq!(prompt.render(&json!({"question": 1, "limit": 2})).unwrap(), "1 2");
    assert_eq!(
        PromptTemplate::new("{} {:.1f}").render(&("a", 2)).unwrap(),
        "a 2.0"
    );
    assert_eq!(PromptTemplate::new("nothing").render(&()).unwrap(), "nothing");
    let mixed = PromptTemplate::new("{0} {name}");
    assert_eq!(
        mixed.format(&[json!(1)], &object(json!({"name": 2}))).unwrap(),
        "1 2"
    );
}

#[test]
fn mistakes_are_named_with_what_there_is() {
    for (template, expected) in [
        (
            "Answer {qestion}",
            "the template asks for `qestion`, which is not given; given: `list`, `question` (a brace that is meant as \
             such is written twice)",
        ),
        (
            "{0}",
            "the template asks for the value at position 0, and 0 positional values are given",
        ),
        (
            "{list[2]}",
            "the placeholder `{list[2]}` cannot be filled: [2] is past the end",
        ),
        (
            "{list.first}",
            "the placeholder `{list.first}` cannot be filled: `first` is asked of a list, which has no entries",
        ),
        (
            "äö}",
            "the template is malformed at character 3: a single `}`; write `}}` for a brace",
        ),
        (
            "ä{question",
            "the template is malformed at character 2: the placeholder is not closed by `}`",
        ),
        (
            "{question!x}",
            "the template is malformed at character 1: unknown conversion `!x`; there are `!s`, `!r` and `!a`",
        ),
        (
            "{question:d}",
            "the placeholder `{question}` cannot be formatted by `d`: text takes the type `s`, not `d`",
        ),
        (
            "{list:>5}",
            "the placeholder `{list}` cannot be formatted by `>5`: only text and numbers take a format, and the value is a \
             list; `!s` makes it text",
        ),
    ] {
        assert_eq!(
            problem(template, json!({"question": "why?", "list": [1, 2]})),
            expected
        );
    }
    assert_eq!(
        problem("{question}", json!({})),
        "the template asks for `question`, which is not given; given: nothing (a brace that is meant as such is written \
         twice)"
    );
    assert_eq!(
        problem("x", json!("why?")),
        "the values cannot fill a template: expected named values (a struct or a map) or a list of values, and got text"
    );
}

#[test]
fn jinja_renders_what_it_is_given() {
    let prompt = PromptTemplate::jinja(
        "{% for x in items %}{{ x.name|upper }}{% if not loop.last %}, {% endif %}{% endfor %}",
    );
    let values = json!({"items": [{"name": "a"}, {"name": "b"}]});
    assert_eq!(prompt.render(&values).unwrap(), "A, B");
    // Prompts are not web pages.
    assert_eq!(
        PromptTemplate::jinja("{{ x }}")
            .render(&json!({"x": "<a> & 'b'"}))
            .unwrap(),
        "<a> & 'b'"
    );
    assert_eq!(
        PromptTemplate::jinja("{% if x is defined %}yes{% else %}no{% endif %}")
            .render(&json!({}))
            .unwrap(),
        "no"
    );
}

#[test]
fn jinja_mistakes_are_named_with_what_there_is() {
    let problem =
        |template: &str, values: Value| PromptTemplate::jinja(template).render(&values).unwrap_err();
    assert_eq!(
        problem("{{ qestion }}", json!({"question": 1})),
        TemplateError::UnknownPlaceholder {
            name: "qestion".to_owned(),
            known: "`question`".to_owned(),
        }
    );
    let malformed = problem("one\n{% if %}", json!({})).to_string();
    assert!(
        malformed.starts_with("the jinja template fails at line 2: "),
        "{malformed}"
    );
    assert!(matches!(
        problem("{{ 0 }}", json!([1])),
        TemplateError::Values { .. }
    ));
}

#[test]
fn jinja_ends_and_stays_within_bounds() {
    let endless = "{% for a in range(10000) %}{% for b in range(10000) %}{% for c in range(10000) %}{% endfor %}{% endfor %}{% endfor %}";
    assert!(matches!(
        PromptTemplate::jinja(endless).render(&json!({})),
        Err(TemplateError::Jinja { .. })
    ));
    let large = "{% set x = 'x' * 40000000 %}{{ x }}{{ x }}";
    let error = PromptTemplate::jinja(large).render(&json!({})).unwrap_err();
    assert!(matches!(error, TemplateError::TooLarge { .. }), "{error}");
}

#[test]
fn poml_is_refused_with_what_to_use() {
    let poml = PromptTemplate::with_engine("<poml/>", TemplateEngine::Poml);
    assert_eq!(
        poml.render(&json!({})).unwrap_err().to_string(),
        "templates of the engine `poml` are stored but cannot be rendered here; use `f-string` or `jinja`"
    );
}

#[test]
fn widths_and_texts_are_bounded() {
    let widest = PromptTemplate::new(format!("{{x:{MAX_WIDTH}}}"));
    assert_eq!(widest.render(&json!({"x": 1})).unwrap().len(), MAX_WIDTH);
    for (spec, what) in [
        (format!("{}", MAX_WIDTH + 1), "the width"),
        (format!("{}", u128::MAX), "the width"),
        (format!(".{}f", MAX_WIDTH + 1), "the precision"),
        ("{w}".to_owned(), "the width"),
    ] {
        assert_eq!(
            problem(&format!("{{x:{spec}}}"), json!({"x": 1, "w": MAX_WIDTH + 1})),
            format!("{what} is greater than {MAX_WIDTH}, the most that a template may ask for")
        );
    }
    let precise = PromptTemplate::new(format!("{{x:.{MAX_WIDTH}f}}"));
    assert_eq!(precise.render(&json!({"x": 0.5})).unwrap().len(), MAX_WIDTH + 2);
    let many = format!("{{x:{MAX_WIDTH}}}").repeat(MAX_OUTPUT_BYTES / MAX_WIDTH + 1);
    assert_eq!(
        problem(&many, json!({"x": 1})),
        format!(
            "the length of the text in bytes is greater than {MAX_OUTPUT_BYTES}, the most that a template may ask for"
        )
    );
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::hash_map("[abx]", inner, 0..3)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn no_template_panics(
        template in prop_oneof![
            any::<String>(),
            r"[{}!:.\[\]abx01<>^=+ #,_zsrdfeg%é-]{0,24}",
            r"\{x(![rsa])?:(é?[<>=^])?[-+ ]?z?#?0?[0-9]{0,3}[,_]?(\.[0-9]{1,3})?[sdnboxXceEfFgG%]?\}",
        ],
        values in prop::collection::vec(any_value(), 0..3),
        x in any_value(),
    ) {
        let named = object(json!({"x": x, "a": values}));
        let _ = format_python(&template, &values, &named);
        let _ = PromptTemplate::jinja(template).format(&[], &named);
    }

    #[test]
    fn text_without_braces_stays_as_it_is(text in "[^{}]*") {
        prop_assert_eq!(format_python(&text, &[], &JsonObject::new()).unwrap(), text);
    }

    #[test]
    fn doubled_braces_come_back_single(text in any::<String>()) {
        let doubled = text.replace('{', "{{").replace('}', "}}");
        prop_assert_eq!(format_python(&doubled, &[], &JsonObject::new()).unwrap(), text);
    }
}
