//! The names in a template, without values for them.

use std::collections::BTreeSet;

use super::{MAX_NESTING, parse, syntax};
use crate::template::TemplateError;

/// Every placeholder as it is named, those within format specifications too; a counted one (`{}`) by its position.
pub(in crate::template) fn placeholders(template: &str) -> Result<BTreeSet<String>, TemplateError> {
    let (mut names, mut counted) = (BTreeSet::new(), 0);
    collect(template, MAX_NESTING, &mut names, &mut counted)?;
    Ok(names)
}

fn collect(
    template: &str,
    depth: usize,
    names: &mut BTreeSet<String>,
    counted: &mut usize,
) -> Result<(), TemplateError> {
    if depth == 0 {
        return Err(syntax(template, 0, "placeholders are nested too deeply"));
    }
    let mut at = 0;
    while let Some(offset) = template[at..].find(['{', '}']) {
        let brace = at + offset;
        let byte = template.as_bytes()[brace];
        if template.as_bytes().get(brace + 1) == Some(&byte) {
            at = brace + 2;
            continue;
        }
        if byte == b'}' {
            return Err(syntax(template, brace, "a single `}`; write `}}` for a brace"));
        }
        if brace + 1 == template.len() {
            return Err(syntax(template, brace, "a single `{`; write `{{` for a brace"));
        }
        let (placeholder, end) = parse(template, brace + 1)?;
        if placeholder.name.is_empty() || placeholder.name.starts_with(['.', '[']) {
            names.insert(format!("{counted}{}", placeholder.name));
            *counted += 1;
        } else {
            names.insert(placeholder.name.to_owned());
        }
        if placeholder.nested {
            collect(placeholder.spec, depth - 1, names, counted)?;
        }
        at = end;
    }
    Ok(())
}
