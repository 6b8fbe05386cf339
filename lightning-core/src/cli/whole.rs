//! `lightning store export`, `import`, `check`, `archive` and `purge`.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufReader, BufWriter, Write as _},
    path::Path,
    process::ExitCode,
    sync::Arc,
};

use anyhow::Context as _;

use super::{
    args::{StoreTask, WholeStore},
    print, token,
};
use crate::{
    clock::{Clock as _, SystemClock},
    store::{
        Store, open_url, sqlite,
        transfer::{self, Counts, Removed},
    },
    types::Timestamp,
};

pub(super) async fn run(task: StoreTask) -> anyhow::Result<ExitCode> {
    match task {
        StoreTask::Export { store, output } => {
            let store = open(&store).await?;
            let counts = match output {
                Some(path) => {
                    let mut file = create(&path)?;
                    let counts = transfer::export(&*store, &mut file).await?;
                    file.get_ref().sync_all()?;
                    counts
                }
                None => transfer::export(&*store, &mut BufWriter::new(io::stdout())).await?,
            };
            tell(&format!("wrote {}", told(counts)));
        }
        StoreTask::Import { store, input } => return import(&store, input.as_deref()).await,
        StoreTask::Check { path } => return check(&path),
        StoreTask::Archive {
            store,
            older_than,
            output,
        } => {
            let store = open(&store).await?;
            let mut file = create(&output)?;
            let (counts, removed) = transfer::archive(&*store, ago(older_than), &mut file).await?;
            tell(&format!("wrote {}", told(counts)));
            tell(&format!("took out {}", told_removed(removed)));
        }
        StoreTask::Purge { store, older_than } => {
            let store = open(&store).await?;
            let removed = transfer::purge(&*store, ago(older_than)).await?;
            tell(&format!("took out {}", told_removed(removed)));
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn open(store: &WholeStore) -> anyhow::Result<Arc<dyn Store>> {
    if store.url.starts_with("http://") || store.url.starts_with("https://") {
        return Ok(Arc::new(token::connect(&store.url, &store.token).await?));
    }
    Ok(open_url(&store.url)?)
}

/// A new file, which only its owner may read: there are keys in it.
fn create(path: &Path) -> anyhow::Result<BufWriter<File>> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options
        .open(path)
        .with_context(|| format!("cannot make {}", path.display()))?;
    Ok(BufWriter::new(file))
}

async fn import(store: &WholeStore, input: Option<&Path>) -> anyhow::Result<ExitCode> {
    let store = open(store).await?;
    let imported = match input {
        Some(path) => {
            let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
            transfer::import(&*store, &mut BufReader::new(file)).await?
        }
        None => transfer::import(&*store, &mut BufReader::new(io::stdin())).await?,
    };
    tell(&format!(
        "took in {}; {} records were there already, {} were refused",
        told(imported.stored),
        imported.known,
        imported.rejected
    ));
    for (line, error) in &imported.rejections {
        tell(&format!("line {line}: {error}"));
    }
    Ok(if imported.rejected == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn check(path: &Path) -> anyhow::Result<ExitCode> {
    let problems = sqlite::check(path)?;
    if problems.is_empty() {
        print(&format!("{}: sound\n", path.display()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = String::new();
    for problem in &problems {
        text += problem;
        text.push('\n');
    }
    print(&text)?;
    tell(&format!("{}: {} problems", path.display(), problems.len()));
    Ok(ExitCode::FAILURE)
}

fn ago(seconds: f64) -> Timestamp {
    SystemClock::new().now() + -seconds
}

fn told(counts: Counts) -> String {
    format!(
        "{} rollouts, {} attempts, {} spans, {} versions of resources, {} workers",
        counts.rollouts, counts.attempts, counts.spans, counts.resources, counts.workers
    )
}

fn told_removed(removed: Removed) -> String {
    format!(
        "{} rollouts, {} attempts, {} spans, {} sets of resources",
        removed.rollouts, removed.attempts, removed.spans, removed.resources
    )
}

/// On standard error: standard output may be the file.
fn tell(text: &str) {
    let _ = writeln!(io::stderr(), "lightning: {text}");
}
