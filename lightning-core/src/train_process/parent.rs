//! The process that has another one train.

use std::{env, ffi::OsString, fmt, path::PathBuf, process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader},
    process::{Child, Command},
    time::timeout,
};

use super::{Said, TrainError, TrainJob, Trained, VARIABLE, child::is_prepared};
use crate::lm::Step;

/// How much of what a process writes to its standard error is kept, in bytes: the end of it.
const KEPT: usize = 4096;
/// How long a line of a process may be, in bytes.
const LONGEST_LINE: u64 = 1 << 20;
/// How long a process that has closed its output may take to end.
const END_WITHIN: Duration = Duration::from_secs(10);

/// The program that is started to train.
#[derive(Clone)]
pub struct TrainProgram {
    /// This program, if there is none.
    command: Option<(PathBuf, Vec<OsString>)>,
}

impl TrainProgram {
    /// The program that is running, with the arguments it was given. It has to call [`train_process`](super::train_process())
    /// first.
    pub fn this() -> Self {
        Self { command: None }
    }

    /// Another program, such as `lightning train`. It is told what to do by an environment variable, as
    /// [`train_process`](super::train_process()) reads it.
    pub fn command<A: Into<OsString>>(
        program: impl Into<PathBuf>,
        arguments: impl IntoIterator<Item = A>,
    ) -> Self {
        let arguments = arguments.into_iter().map(Into::into).collect();
        Self {
            command: Some((program.into(), arguments)),
        }
    }

    /// Whether it can be started.
    ///
    /// # Errors
    ///
    /// [`TrainError::NotPrepared`], if it is this program and that has not called [`train_process`](super::train_process()).
    pub fn check(&self) -> Result<(), TrainError> {
        if self.command.is_none() && !is_prepared() {
            return Err(TrainError::NotPrepared);
        }
        Ok(())
    }

    fn to_start(&self) -> Result<(String, Command), TrainError> {
        self.check()?;
        let Some((path, arguments)) = &self.command else {
            let arguments: Vec<OsString> = env::args_os().collect();
            // By this name, it is the same program also when the file was replaced since.
            let path = if cfg!(target_os = "linux") {
                PathBuf::from("/proc/self/exe")
            } else {
                env::current_exe().map_err(|source| TrainError::Start {
                    program: "this program".to_owned(),
                    source,
                })?
            };
            let mut command = Command::new(path);
            #[cfg(unix)]
            if let Some(name) = arguments.first() {
                command.arg0(name);
            }
            command.args(arguments.iter().skip(1));
            return Ok(("this program".to_owned(), command));
        };
        let mut command = Command::new(path);
        command.args(arguments);
        Ok((format!("`{}`", path.display()), command))
    }

    /// Has a process train. `watch` is told each step.
    ///
    /// After `limit` the process is killed. Cancel safe: dropped, it kills the process, and there is either the whole model or
    /// none.
    ///
    /// # Errors
    ///
    /// See [`TrainError`].
    pub async fn train(
        &self,
        job: &TrainJob,
        limit: Duration,
        watch: impl FnMut(&Step),
    ) -> Result<Trained, TrainError> {
        let (program, mut command) = self.to_start()?;
        let failed = |source| TrainError::Start {
            program: program.clone(),
            source,
        };
        let job = serde_json::to_string(job).map_err(|error| failed(error.into()))?;
        #[cfg(unix)]
        // Ctrl-C concerns the process that was started by hand; that tells this one.
        command.process_group(0);
        command
            .env(VARIABLE, job)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(failed)?;
        tracing::debug!(target: "lightning::train_process", pid = child.id(), program, "a process trains");
        let mut heard = Heard {
            watch,
            step: None,
            result: None,
        };
        if let Ok(ended) = timeout(limit, heard.listen(&mut child)).await {
            return ended;
        }
        // It may have ended meanwhile.
        let _ = child.start_kill();
        let _ = child.wait().await;
        Err(TrainError::TimeLimit {
            seconds: limit.as_secs_f64(),
            step: heard.step,
        })
    }
}

impl Default for TrainProgram {
    fn default() -> Self {
        Self::this()
    }
}

impl fmt::Debug for TrainProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.command.as_ref().map(|(path, _)| path);
        f.debug_struct("TrainProgram").field("command", &path).finish()
    }
}

/// What a process has said so far.
struct Heard<W> {
    watch: W,
    step: Option<u64>,
    result: Option<Result<Trained, String>>,
}

impl<W: FnMut(&Step)> Heard<W> {
    /// Listens until the process ends.
    async fn listen(&mut self, child: &mut Child) -> Result<Trained, TrainError> {
        // Held until it has ended: the process goes by it.
        let lifeline = child.stdin.take();
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let lines = async {
            if let Some(out) = out {
                self.lines(out).await;
            }
        };
        let ((), said) = tokio::join!(lines, the_end_of(err));
        drop(lifeline);
        let status = match timeout(END_WITHIN, child.wait()).await {
            Ok(status) => status.map_or_else(|error| error.to_string(), |status| status.to_string()),
            Err(_) => {
                let _ = child.start_kill();
                let _ = child.wait().await;
                "it closed its output and went on".to_owned()
            }
        };
        match self.result.take() {
            Some(Ok(trained)) => Ok(trained),
            Some(Err(problem)) => Err(TrainError::Failed { problem }),
            None => Err(TrainError::Ended {
                how: status,
                step: self.step,
                said,
            }),
        }
    }

    async fn lines(&mut self, out: impl AsyncRead + Unpin) {
        let mut out = BufReader::new(out);
        let mut line = Vec::new();
        loop {
            line.clear();
            match (&mut out).take(LONGEST_LINE).read_until(b'\n', &mut line).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => return,
            }
            // The program may have something else to say.
            match serde_json::from_slice(&line) {
                Ok(Said::Step(step)) => {
                    self.step = Some(step.step);
                    (self.watch)(&step);
                }
                Ok(Said::Trained(trained)) => self.result = Some(Ok(trained)),
                Ok(Said::Failed(problem)) => self.result = Some(Err(problem)),
                Err(_) => {}
            }
        }
    }
}

/// Reads all there is, and keeps its end.
async fn the_end_of(err: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut err) = err else {
        return String::new();
    };
    let (mut kept, mut buffer) = (Vec::new(), [0; 1024]);
    while let Ok(read @ 1..) = err.read(&mut buffer).await {
        kept.extend_from_slice(&buffer[..read]);
        if kept.len() > 2 * KEPT {
            kept.drain(..kept.len() - KEPT);
        }
    }
    kept.drain(..kept.len().saturating_sub(KEPT));
    String::from_utf8_lossy(&kept).trim().to_owned()
}
