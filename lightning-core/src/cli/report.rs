//! `lightning report`.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use anyhow::Context as _;
use clap::Args as ClapArgs;

use crate::{
    report::{PAGE, RunReport},
    run::RunFolder,
    terminal::output_columns,
};

#[derive(Debug, ClapArgs)]
pub(super) struct ReportArgs {
    /// The folder of the run.
    #[arg(value_name = "RUN_DIR")]
    folder: PathBuf,
    /// Opens the page in a browser: the program that the variable BROWSER names, else the system's.
    #[arg(long)]
    open: bool,
    /// Where the page is written; `report.html` in the run folder if left out.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) fn run(args: &ReportArgs) -> anyhow::Result<ExitCode> {
    let report = RunReport::read(&args.folder)?;
    let path = write(&report, args)?;
    // What reads a pipe wants whole lines.
    super::print(&report.to_text(output_columns().unwrap_or(usize::MAX)))?;
    super::print(&format!("  page          {}\n", path.display()))?;
    if args.open {
        open(&path)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn write(report: &RunReport, args: &ReportArgs) -> anyhow::Result<PathBuf> {
    let page = report.to_html();
    match &args.output {
        Some(path) => {
            std::fs::write(path, page).with_context(|| format!("cannot write {}", path.display()))?;
            Ok(path.clone())
        }
        None => RunFolder::at(&args.folder)
            .replace(PAGE, page.as_bytes())
            .context("the page can be written elsewhere with --output"),
    }
}

fn open(page: &Path) -> anyhow::Result<()> {
    let page = page
        .canonicalize()
        .with_context(|| format!("cannot open {}", page.display()))?;
    let chosen = env::var_os("BROWSER").filter(|name| !name.is_empty());
    let system: &[&str] = if cfg!(target_os = "macos") {
        &["open"]
    } else if cfg!(windows) {
        &["explorer"]
    } else {
        &["xdg-open"]
    };
    let program = chosen.unwrap_or_else(|| system.concat().into());
    let opened = Command::new(&program)
        .arg(&page)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status();
    let failed = || {
        format!(
            "`{}` cannot open the page; name a browser in the variable BROWSER, or open {} yourself",
            program.display(),
            page.display()
        )
    };
    let status = opened.with_context(failed)?;
    anyhow::ensure!(status.success(), failed());
    Ok(())
}
