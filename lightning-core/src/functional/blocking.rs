//! Where the synchronous functions of users run: on Tokio's blocking threads, so that they hold nothing up.

use std::panic::resume_unwind;

use tokio::runtime::Handle;

use crate::tracer;

/// Runs `function` on a blocking thread, within the recording of the task that calls this.
///
/// A panic of `function` goes on in the caller. When this future is dropped, a function that has not begun never does;
/// one that has begun cannot be stopped, and its result is lost.
///
/// Errors if there is no Tokio runtime, or if the runtime shuts down before the function begins.
pub async fn run_blocking<R: Send + 'static>(
    function: impl FnOnce() -> R + Send + 'static,
) -> anyhow::Result<R> {
    let runtime = Handle::try_current().map_err(|_| {
        anyhow::anyhow!("a synchronous algorithm or agent runs on Tokio's blocking threads, but there is no Tokio runtime here")
    })?;
    let task = AbortOnDrop(runtime.spawn_blocking(tracer::carry(function)));
    task.join().await
}

/// Takes a function that has not begun out of the queue again when nobody waits for it any more.
struct AbortOnDrop<R>(tokio::task::JoinHandle<R>);

impl<R> AbortOnDrop<R> {
    async fn join(mut self) -> anyhow::Result<R> {
        match (&mut self.0).await {
            Ok(returned) => Ok(returned),
            Err(failure) => match failure.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                Err(_) => anyhow::bail!("the Tokio runtime shut down before the function began"),
            },
        }
    }
}

impl<R> Drop for AbortOnDrop<R> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
