//! `lightning run` and `lightning schema`.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::Args as ClapArgs;

use crate::{
    config::{self, ConfigError, Overrides, RunFile, Setup},
    logging::Logging,
};

/// The exit status of a run file that cannot be used, as of wrong arguments.
const WRONG: u8 = 2;

#[derive(Debug, ClapArgs)]
pub(super) struct RunArgs {
    /// The run file: `.yaml`, `.toml` or `.json`.
    file: PathBuf,
    /// Sets a value of the run file: `--set algorithm.parameters.beam_width=4`. The value is YAML. May be given several
    /// times. Variables do the same: LIGHTNING_RUN__ALGORITHM__PARAMETERS__BEAM_WIDTH=4.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// The same as `--set seed=NUMBER`.
    #[arg(long, value_name = "NUMBER")]
    seed: Option<String>,
    /// The same as `--set n_runners=NUMBER`.
    #[arg(long = "runners", value_name = "NUMBER")]
    n_runners: Option<String>,
    /// The same as `--set run_dir=FOLDER`.
    #[arg(long, value_name = "FOLDER")]
    run_dir: Option<String>,
    /// What to do with a run that was begun in the folder before: `if_unchanged`, `even_if_changed`, `or_start_over` or
    /// `never`. The same as `--set resume=HOW`.
    #[arg(long, value_name = "HOW")]
    resume: Option<String>,
    /// The same as `--set store=URL`.
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// Shows every value and where it was written, and runs nothing.
    #[arg(long, conflicts_with_all = ["check", "dev"])]
    explain: bool,
    /// Looks for mistakes, and runs nothing.
    #[arg(long, conflicts_with = "dev")]
    check: bool,
    /// Runs only a few tasks and shows their traces; fails if there would be nothing to learn from.
    #[arg(long)]
    dev: bool,
}

impl RunArgs {
    fn overrides(&self) -> Result<Overrides, config::Problem> {
        let mut overrides = Overrides::from_environment()?;
        let flags = [
            ("--seed", "seed", &self.seed),
            ("--runners", "n_runners", &self.n_runners),
            ("--run-dir", "run_dir", &self.run_dir),
            ("--resume", "resume", &self.resume),
            ("--store", "store", &self.store),
        ];
        for setting in &self.settings {
            overrides = overrides.set(setting)?;
        }
        for (flag, key, value) in flags {
            if let Some(value) = value {
                overrides = overrides.flag(flag, key, value);
            }
        }
        Ok(overrides)
    }
}

pub(super) async fn run(args: RunArgs, setup: &Setup) -> anyhow::Result<ExitCode> {
    let loaded = args.overrides().map_err(ConfigError::from).and_then(|overrides| {
        let file = RunFile::load(&args.file, &overrides, setup.registry())?;
        Ok((overrides, file))
    });
    let (overrides, file) = match loaded {
        Ok(loaded) => loaded,
        Err(error) => return Ok(refuse(&error)),
    };
    if args.explain {
        super::print(&file.explain())?;
        return Ok(ExitCode::SUCCESS);
    }
    if args.check {
        super::print(&format!("{} is in order\n", args.file.display()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let environment = Logging::from_env().context("the environment")?;
    let logging = file.logging(environment)?;
    let levels = logging.handle();
    logging.install()?;
    if args.dev {
        // The traces are shown on standard error as they come.
        return match config::dev(&file, setup).await {
            Ok(_) => Ok(ExitCode::SUCCESS),
            Err(error @ ConfigError::Invalid(_)) => Ok(refuse(&error)),
            Err(error) => Err(error.into()),
        };
    }
    let (_watch, changes) = config::watch(&file)?;
    let mut run = config::Run::new(file, overrides, setup).reload_on(changes);
    // What the environment says of the levels goes before what any version of the file does.
    if std::env::var_os("LIGHTNING_LOG").is_none_or(|levels| levels.is_empty()) {
        run = run.levels(levels);
    }
    match run.run().await {
        Ok(report) => {
            super::print(&format!("{:#}\n", report.output))?;
            Ok(report.exit_code())
        }
        Err(error @ ConfigError::Invalid(_)) => Ok(refuse(&error)),
        Err(error) => Err(error.into()),
    }
}

fn refuse(error: &ConfigError) -> ExitCode {
    let _ = super::complain(&error.to_string());
    ExitCode::from(WRONG)
}

pub(super) fn schema(setup: &Setup) -> anyhow::Result<ExitCode> {
    super::print(&format!("{:#}\n", config::schema(setup.registry())))?;
    Ok(ExitCode::SUCCESS)
}
