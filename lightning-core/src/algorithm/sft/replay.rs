//! The samples that are learnt from, in files of the run.

use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::on_the_disk;
use crate::{
    lm::Sample,
    run::{RunError, RunFolder},
};

/// Samples in a folder: a file for each iteration, `0001.jsonl` and so on, replaced as a whole.
pub(super) struct Replay {
    folder: PathBuf,
    room: usize,
}

/// A sample, and where it comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Kept {
    /// The place of the rollout among those of its iteration.
    pub(super) rollout: usize,
    pub(super) reward: f64,
    #[serde(flatten)]
    pub(super) sample: Sample,
}

impl Replay {
    pub(super) fn at(folder: PathBuf, room: usize) -> Self {
        Self { folder, room }
    }

    /// Keeps the samples of an iteration but for those that are there already. Says how many were added. What an iteration
    /// that was broken off has left is replaced.
    pub(super) async fn add(&self, iteration: usize, samples: Vec<Kept>) -> Result<u64, RunError> {
        let folder = self.folder.clone();
        on_the_disk(move || {
            let mut known: HashSet<Vec<u32>> = HashSet::new();
            for earlier in 1..iteration {
                let earlier = read(&folder.join(file(earlier)))?;
                known.extend(earlier.into_iter().map(|kept| kept.sample.tokens));
            }
            let new: Vec<Kept> = samples
                .into_iter()
                .filter(|kept| known.insert(kept.sample.tokens.clone()))
                .collect();
            write(&folder, &file(iteration), &new)?;
            Ok(new.len() as u64)
        })
        .await
    }

    /// Writes the best samples of all iterations up to this one to a file, then the latest, as many as there is room for. Says
    /// how many these are.
    pub(super) async fn select(&self, iteration: usize, into: &Path) -> Result<u64, RunError> {
        let (folder, room) = (self.folder.clone(), self.room);
        let name = into
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        on_the_disk(move || {
            let mut all = Vec::new();
            for earlier in 1..=iteration {
                let kept = read(&folder.join(file(earlier)))?;
                all.extend(kept.into_iter().map(|kept| (earlier, kept)));
            }
            // Stable, so that within an iteration the order stays.
            all.sort_by(|(a_iteration, a), (b_iteration, b)| {
                b.reward.total_cmp(&a.reward).then(b_iteration.cmp(a_iteration))
            });
            all.truncate(room);
            let samples: Vec<Sample> = all.into_iter().map(|(_, kept)| kept.sample).collect();
            write(&folder, &name, &samples)?;
            Ok(samples.len() as u64)
        })
        .await
    }
}

fn file(iteration: usize) -> String {
    format!("{iteration:04}.jsonl")
}

fn write(folder: &Path, name: &str, rows: &[impl Serialize]) -> Result<(), RunError> {
    let mut text = Vec::new();
    for row in rows {
        serde_json::to_writer(&mut text, row).map_err(RunError::Unwritable)?;
        text.push(b'\n');
    }
    RunFolder::at(folder).replace(name, &text).map(drop)
}

fn read(path: &Path) -> Result<Vec<Kept>, RunError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => {
            return Err(RunError::Folder {
                action: "read",
                path: path.to_owned(),
                source,
            });
        }
    };
    let rows = text.lines().map(|line| {
        serde_json::from_str(line).map_err(|source| RunError::Unreadable {
            path: path.to_owned(),
            source,
        })
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(token: u32, reward: f64) -> Kept {
        Kept {
            rollout: 0,
            reward,
            sample: Sample::new(&[1], &[token]),
        }
    }

    #[tokio::test]
    async fn the_best_are_selected_then_the_latest_and_nothing_twice() {
        let folder = RunFolder::temporary();
        let replay = Replay::at(folder.path().join("replay"), 3);
        assert_eq!(
            replay
                .add(1, vec![kept(1, 1.0), kept(2, 0.5), kept(1, 1.0)])
                .await
                .unwrap(),
            2
        );
        assert_eq!(
            replay
                .add(2, vec![kept(1, 1.0), kept(3, 1.0), kept(4, 0.5)])
                .await
                .unwrap(),
            2
        );
        // As it is when the iteration is done again.
        assert_eq!(
            replay
                .add(2, vec![kept(1, 1.0), kept(3, 1.0), kept(4, 0.5)])
                .await
                .unwrap(),
            2
        );
        let into = folder.path().join("replay/selected.jsonl");
        let selected = async |iteration| {
            let count = replay.select(iteration, &into).await.unwrap();
            let text = fs::read_to_string(&into).unwrap();
            let samples = text
                .lines()
                .map(|line| serde_json::from_str::<Sample>(line).unwrap());
            let tokens: Vec<u32> = samples.map(|sample| sample.tokens[1]).collect();
            assert_eq!(tokens.len() as u64, count);
            tokens
        };
        assert_eq!(selected(1).await, [1, 2]);
        assert_eq!(selected(2).await, [3, 1, 4], "the later of equal ones first");
        assert_eq!(selected(9).await, [3, 1, 4]);
    }
}
