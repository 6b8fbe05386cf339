//! How many there are of each kind of record.

use std::borrow::Cow;

use rusqlite::Connection;

use super::failure::Failure;
use crate::types::{RolloutMode, RolloutStatus};

/// What is counted.
#[derive(Clone, Copy, Debug)]
pub(super) enum Total {
    Rollouts(RolloutStatus, Option<RolloutMode>),
    Attempts,
    Spans,
    Resources,
    Workers,
    /// Entries of the queue, those included whose rollout no longer waits.
    Queued,
}

const MODES: usize = 1 + RolloutMode::ALL.len();
const ROLLOUTS: usize = RolloutStatus::ALL.len() * MODES;
const OTHERS: [&str; 5] = ["attempts", "spans", "resources", "workers", "queued"];
const COUNT: usize = ROLLOUTS + OTHERS.len();

impl Total {
    const fn index(self) -> usize {
        match self {
            Self::Rollouts(status, None) => status as usize * MODES,
            Self::Rollouts(status, Some(mode)) => status as usize * MODES + 1 + mode as usize,
            Self::Attempts => ROLLOUTS,
            Self::Spans => ROLLOUTS + 1,
            Self::Resources => ROLLOUTS + 2,
            Self::Workers => ROLLOUTS + 3,
            Self::Queued => ROLLOUTS + 4,
        }
    }

    /// What the sum is called in the file: of rollouts `status/mode`, or `status/` of those without a mode.
    fn name(index: usize) -> Cow<'static, str> {
        let Some(status) = RolloutStatus::ALL.get(index / MODES) else {
            return OTHERS[index - ROLLOUTS].into();
        };
        let mode = (index % MODES).checked_sub(1).map(|mode| RolloutMode::ALL[mode]);
        format!("{}/{}", status.as_str(), mode.map_or("", RolloutMode::as_str)).into()
    }
}

/// Counts, or changes of counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Totals([i64; COUNT]);

impl Default for Totals {
    fn default() -> Self {
        Self([0; COUNT])
    }
}

impl Totals {
    pub(super) fn get(&self, total: Total) -> u64 {
        u64::try_from(self.0[total.index()]).unwrap_or(0)
    }

    pub(super) fn rollouts(&self) -> u64 {
        RolloutStatus::ALL
            .into_iter()
            .map(|status| self.rollouts_in(status))
            .sum()
    }

    pub(super) fn rollouts_in(&self, status: RolloutStatus) -> u64 {
        let modes = [None].into_iter().chain(RolloutMode::ALL.map(Some));
        modes.map(|mode| self.get(Total::Rollouts(status, mode))).sum()
    }

    pub(super) fn add(&mut self, total: Total, change: i64) {
        self.0[total.index()] += change;
    }

    pub(super) fn change(&self, total: Total) -> i64 {
        self.0[total.index()]
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }

    pub(super) fn read(connection: &Connection) -> Result<Self, Failure> {
        let mut totals = Self::default();
        let mut statement = connection.prepare_cached("SELECT name, value FROM totals")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let name = row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?;
            totals.set(name, row.get(1)?);
        }
        Ok(totals)
    }

    /// Sets the sum of that name; one that nobody knows is passed over.
    pub(super) fn set(&mut self, name: &str, value: i64) {
        if let Some(index) = (0..COUNT).find(|&index| Total::name(index) == name) {
            self.0[index] = value;
        }
    }

    /// Adds these changes to what is stored.
    pub(super) fn apply(&self, connection: &Connection) -> Result<(), Failure> {
        let mut statement = connection.prepare_cached(
            "INSERT INTO totals (name, value) VALUES (?1, ?2)
             ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
        )?;
        for (index, change) in self.0.iter().enumerate() {
            if *change != 0 {
                statement.execute((Total::name(index), change))?;
            }
        }
        Ok(())
    }
}
