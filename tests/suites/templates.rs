//! Prompt templates: Python's answers, Jinja, messages, and bounds.

use lightning_core::{
    template::{TemplateError, format_python},
    types::JsonObject,
};
use serde_json::Value;

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
