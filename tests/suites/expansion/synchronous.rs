#[algo(handle = Halve, crate = facade::toolkit)]
#[deprecated]
#[cfg(unix)]
fn halve(run: RunContext, #[param(default = 2)] by: u64) -> Halved {
    run.seed() / by
}
