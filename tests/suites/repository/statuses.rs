//! Only `store::lifecycle` decides a status: elsewhere nobody assigns one or makes up a record with one.

use syn::{
    Expr, Member,
    spanned::Spanned as _,
    visit::{self, Visit},
};

use crate::{
    source::{self, Module},
    tree::{self, Complaint},
};

/// Where a status may be decided, and where stores are put to the test.
const EXEMPT: [&str; 2] = ["store::lifecycle", "testing"];
/// The records whose status the lifecycle decides.
const RECORDS: [&str; 3] = ["Rollout", "Attempt", "Worker"];

fn decisions(module: &Module) -> Vec<Complaint> {
    if EXEMPT.iter().any(|exempt| module.is_within(exempt)) {
        return Vec::new();
    }
    let mut finder = Finder(Vec::new());
    finder.visit_file(&module.syntax);
    finder
        .0
        .into_iter()
        .map(|(line, what)| {
            Complaint::at(
                format!("{}:{line}", module.file),
                format!(
                    "{what}; only `store::lifecycle` decides statuses: give it the records and the event, or send a \
                     command with a patch"
                ),
            )
        })
        .collect()
}

struct Finder(Vec<(usize, &'static str)>);

impl<'ast> Visit<'ast> for Finder {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !source::only_for_tests(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        // Whoever calls an agent in a test needs a rollout that no store has made.
        if function.sig.ident != "for_test" {
            visit::visit_impl_item_fn(self, function);
        }
    }

    fn visit_expr_assign(&mut self, assignment: &'ast syn::ExprAssign) {
        if let Expr::Field(field) = &*assignment.left
            && matches!(&field.member, Member::Named(name) if name == "status")
            && !is_other_record(&field.base)
        {
            self.0
                .push((assignment.span().start().line, "assigns a `status`"));
        }
        visit::visit_expr_assign(self, assignment);
    }

    fn visit_expr_struct(&mut self, literal: &'ast syn::ExprStruct) {
        let record = literal
            .path
            .segments
            .last()
            .map(|last| last.ident.to_string())
            .unwrap_or_default();
        let decided = literal.fields.iter().any(|field| {
            matches!(&field.member, Member::Named(name) if name == "status")
                && matches!(&field.expr, Expr::Path(value) if value.path.segments.len() > 1)
        });
        if RECORDS.contains(&record.as_str()) && decided {
            self.0.push((
                literal.span().start().line,
                "makes a record with a status of its choice",
            ));
        }
        visit::visit_expr_struct(self, literal);
    }
}

/// Whether the field belongs to a span or a patch, whose `status` is another matter, going by the name of the variable.
fn is_other_record(base: &Expr) -> bool {
    let name = match base {
        Expr::Path(path) => path.path.segments.last().map(|last| last.ident.to_string()),
        Expr::Field(field) => match &field.member {
            Member::Named(name) => Some(name.to_string()),
            Member::Unnamed(_) => None,
        },
        _ => None,
    };
    name.is_some_and(|name| {
        ["span", "patch"]
            .iter()
            .any(|other| name == *other || name.ends_with(&format!("_{other}")))
    })
}

#[test]
fn only_the_lifecycle_decides_statuses() {
    let complaints: Vec<Complaint> = source::modules_of("lightning-core/src/lib.rs")
        .iter()
        .flat_map(decisions)
        .collect();
    tree::expect_none(&complaints);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_that_is_decided_elsewhere_is_refused() {
        for text in [
            "fn f(rollout: &mut Rollout) { rollout.status = RolloutStatus::Failed; }",
            "fn f(entry: &mut Entry) { entry.attempts[0].status = status; }",
            "fn f() -> Attempt { Attempt { status: AttemptStatus::Running, ..old } }",
            "impl Context { fn new() -> Rollout { Rollout { status: RolloutStatus::Running } } }",
            "fn f() { async move { x.latest().status = s } }",
        ] {
            let complaints = decisions(&Module::snippet("store::sqlite", text));
            tree::expect_one(
                &complaints,
                &["snippet.rs:1", "only `store::lifecycle` decides statuses"],
            );
        }
    }

    #[test]
    fn reading_a_status_and_the_status_of_a_span_pass() {
        for text in [
            "fn f(span: &mut Span) { span.status = SpanStatus::default(); }",
            "fn f() { patch.status = Some(AttemptStatus::Failed); }",
            "fn f(row: Row) -> Rollout { Rollout { status: row.get(3), input } }",
            "fn f(r: &Rollout) -> bool { r.status == RolloutStatus::Failed }",
            "impl Context { fn for_test() -> Rollout { Rollout { status: RolloutStatus::Running } } }",
            "#[cfg(test)] mod tests { fn f() { rollout.status = x; } }",
        ] {
            tree::expect_none(&decisions(&Module::snippet("tracer", text)));
        }
        let text = "fn f() { rollout.status = status; }";
        tree::expect_none(&decisions(&Module::snippet("store::lifecycle", text)));
    }
}
