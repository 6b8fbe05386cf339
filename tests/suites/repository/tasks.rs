//! No task outlives its owner, and nothing waits by polling, as far as the source shows it.

use syn::{
    Expr, Pat, Stmt,
    spanned::Spanned as _,
    visit::{self, Visit},
};

use crate::{
    source::{self, Module},
    tree::{self, Complaint},
};

/// Functions that wait by looking again and again, or by blocking a thread.
const POLLING: [&str; 5] = [
    "yield_now",
    "spin_loop",
    "thread::sleep",
    "park_timeout",
    "blocking_recv",
];
/// Functions that give the only handle on a task.
const SPAWNING: [&str; 3] = ["spawn", "spawn_blocking", "spawn_local"];

fn complaints(module: &Module) -> Vec<Complaint> {
    let mut finder = Finder(Vec::new());
    finder.visit_file(&module.syntax);
    let orphans = finder.0.into_iter().map(|line| {
        Complaint::at(
            format!("{}:{line}", module.file),
            "nobody owns the spawned task: keep its handle and join or abort it at the end, or use a `JoinSet` or a \
             `TaskTracker`",
        )
    });
    let polls = source::mentions(module).into_iter().filter_map(|mention| {
        let path = format!("::{}", mention.path.join("::"));
        let called = POLLING
            .iter()
            .find(|polling| path.ends_with(&format!("::{polling}")))?;
        Some(Complaint::at(
            format!("{}:{}", module.file, mention.line),
            format!("`{called}` polls or blocks: wait for a notification, or for the `Clock`"),
        ))
    });
    orphans.chain(polls).collect()
}

/// The lines where the handle of a task is dropped at once.
struct Finder(Vec<usize>);

impl<'ast> Visit<'ast> for Finder {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !source::only_for_tests(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_stmt(&mut self, statement: &'ast Stmt) {
        let dropped = match statement {
            Stmt::Expr(value, Some(_)) => Some(value),
            Stmt::Local(local) if matches!(local.pat, Pat::Wild(_)) => {
                local.init.as_ref().map(|init| &*init.expr)
            }
            _ => None,
        };
        if let Some(Expr::Call(call)) = dropped
            && let Expr::Path(function) = &*call.func
            && function
                .path
                .segments
                .last()
                .is_some_and(|last| SPAWNING.iter().any(|spawning| last.ident == spawning))
        {
            self.0.push(call.span().start().line);
        }
        visit::visit_stmt(self, statement);
    }
}

#[test]
fn tasks_have_owners_and_nothing_polls() {
    let complaints: Vec<Complaint> = source::modules_of("lightning-core/src/lib.rs")
        .iter()
        // The conformance suite lets others run until they are parked.
        .filter(|module| !module.is_within("testing"))
        .flat_map(complaints)
        .collect();
    tree::expect_none(&complaints);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_without_an_owner_is_refused() {
        for text in [
            "fn f() { tokio::spawn(work()); }",
            "fn f() { let _ = tokio::task::spawn_blocking(work); }",
            "fn f() { async { spawn(work()); } }",
        ] {
            tree::expect_one(
                &complaints(&Module::snippet("runner", text)),
                &["snippet.rs:1", "nobody owns"],
            );
        }
    }

    #[test]
    fn waiting_by_polling_is_refused() {
        for text in [
            "fn f() { tokio::task::yield_now().await }",
            "fn f() { std::thread::sleep(second) }",
            "fn f() { thread::sleep(second) }",
            "use std::hint::spin_loop;",
        ] {
            tree::expect_one(
                &complaints(&Module::snippet("runner", text)),
                &["snippet.rs:1", "polls or blocks"],
            );
        }
    }

    #[test]
    fn owned_tasks_and_waiting_for_the_clock_pass() {
        for text in [
            "fn f() { let task = tokio::spawn(work()); task.await; }",
            "fn f() { tasks.spawn(work()); }",
            "fn f() -> JoinHandle<()> { tokio::spawn(work()) }",
            "fn f() { clock.sleep_past(deadline).await; tokio::time::sleep_until(deadline).await }",
        ] {
            tree::expect_none(&complaints(&Module::snippet("runner", text)));
        }
    }
}
