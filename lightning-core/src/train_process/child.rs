//! The process that trains.

use std::{
    env,
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

use super::{Said, TrainError, TrainJob, Trained, VARIABLE, digest_of_weights};
use crate::lm::{Checkpoint, LmError, Sample, Step, Training};

/// What such a process exits with if whoever started it has gone.
const ORPHANED: i32 = 70;

/// Whether this program has looked.
static PREPARED: AtomicBool = AtomicBool::new(false);

/// Whether this program looks whether it was started to train.
pub(super) fn is_prepared() -> bool {
    PREPARED.load(Ordering::Relaxed)
}

/// Trains, if this process was started for that, and gives what the program is to exit with; `None` in all others.
///
/// To be called before anything else: what stands before it is done in such a process, too, and what it writes to the standard
/// output is lost.
pub fn train_process() -> Option<ExitCode> {
    PREPARED.store(true, Ordering::Relaxed);
    let job = env::var_os(VARIABLE)?;
    Some(match hold_on().and_then(|()| told(&job.to_string_lossy())) {
        Ok(code) => code,
        // Nobody listens any more.
        Err(_) => ExitCode::FAILURE,
    })
}

/// Trains and tells about it.
fn told(job: &str) -> io::Result<ExitCode> {
    let said = match serde_json::from_str::<TrainJob>(job) {
        Ok(job) => carry_out(&job, |step| say(&Said::Step(*step)).is_ok()),
        Err(error) => Err(TrainError::Failed {
            problem: format!("{VARIABLE} was not set by this program; it is not for people to set: {error}"),
        }),
    };
    match said {
        Ok(trained) => say(&Said::Trained(trained)).map(|()| ExitCode::SUCCESS),
        Err(error) => {
            let problem = match error {
                TrainError::Failed { problem } => problem,
                other => other.to_string(),
            };
            say(&Said::Failed(problem)).map(|()| ExitCode::FAILURE)
        }
    }
}

fn say(said: &Said) -> io::Result<()> {
    let mut line = serde_json::to_vec(said)?;
    line.push(b'\n');
    let mut out = io::stdout().lock();
    out.write_all(&line)?;
    out.flush()
}

/// Ends the process when whoever started it lets go of its standard input, which also happens when it is killed.
///
/// The thread lives as long as the process.
fn hold_on() -> io::Result<()> {
    let watch = || {
        let mut input = io::stdin().lock();
        let mut ignored = [0; 64];
        while matches!(input.read(&mut ignored), Ok(1..)) {}
        std::process::exit(ORPHANED);
    };
    let thread = std::thread::Builder::new().name("lightning-lifeline".to_owned());
    thread.spawn(watch).map(drop)
}

/// Carries out a training in this process. `watch` is told each step, and breaks the training off by returning `false`.
///
/// The same job gives the same weights. Blocks.
///
/// # Errors
///
/// [`TrainError::Failed`], also if it was broken off; [`TrainError::File`].
pub fn carry_out(job: &TrainJob, mut watch: impl FnMut(&Step) -> bool) -> Result<Trained, TrainError> {
    let failed = |error: LmError| TrainError::Failed {
        problem: error.to_string(),
    };
    let began = Instant::now();
    let samples = samples(job)?;
    let checkpoint = Checkpoint::load(&job.model).map_err(failed)?;
    let mut training = Training::of(&checkpoint.model).map_err(failed)?;
    let mut steps: Vec<Step> = Vec::new();
    let mut broken_off = false;
    training
        .run(&samples, &job.options, |step| {
            steps.push(*step);
            broken_off = !watch(step);
            !broken_off
        })
        .map_err(failed)?;
    if broken_off {
        return Err(TrainError::Failed {
            problem: "it was broken off".to_owned(),
        });
    }
    let trained = checkpoint.with_model(training.model().map_err(failed)?);
    trained.save(&job.into).map_err(failed)?;
    let per_epoch = steps.len() / usize::try_from(job.options.epochs).unwrap_or(1).max(1);
    let last = &steps[steps.len().saturating_sub(per_epoch.max(1))..];
    Ok(Trained {
        steps: steps.len() as u64,
        tokens: steps.iter().map(|step| step.tokens).sum(),
        loss: last.iter().map(|step| step.loss).sum::<f64>() / last.len().max(1) as f64,
        seconds: began.elapsed().as_secs_f64(),
        sha256: digest_of_weights(&job.into)?,
    })
}

fn samples(job: &TrainJob) -> Result<Vec<Sample>, TrainError> {
    let path = &job.samples;
    let failed = |source| TrainError::File {
        path: path.clone(),
        source,
    };
    let lines = BufReader::new(File::open(path).map_err(failed)?).lines();
    let samples = (1..).zip(lines).map(|(number, line)| {
        serde_json::from_str(&line.map_err(failed)?).map_err(|error| TrainError::Failed {
            problem: format!("{}, line {number}: {error}", path.display()),
        })
    });
    samples.collect()
}
