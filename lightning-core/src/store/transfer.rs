//! Whole stores as lines of JSON, from any store into any other; and what is old taken out of one.
//!
//! A line is a [`Record`]. The first line says what the file is, the last one how much it should hold, so that a file that
//! was cut off is noticed. What is read and written at a time is bounded, however much a store holds.
//!
//! Everything here goes through the contract of [`Store`]; which statuses are possible is the
//! [`lifecycle`](super::lifecycle)'s business.

use std::{
    collections::HashSet,
    io::{self, BufRead, Write},
};

use serde::{Deserialize, Serialize};

use super::{ImportOutcome, PurgeTarget, Purged, Record, RolloutRecord, Store, StoreError};
use crate::types::{
    Attempt, AttemptQuery, AttemptSortField, PageRequest, ResourcesId, ResourcesQuery, ResourcesUpdate,
    RolloutId, RolloutQuery, RolloutSnapshot, RolloutStatus, SpanQuery, Timestamp, WorkerQuery,
};

/// The version of the form of the lines.
const FORMAT: u32 = 1;
/// How many records are read at a time.
const PAGE: usize = 200;
/// How many records, and about how many bytes of them, are taken in at a time.
const BATCH: usize = 500;
const BATCH_BYTES: usize = 4 << 20;
/// How often a rollout is read that changes while it is.
const TRIES: usize = 5;
/// How many refused records are told of one by one.
const TOLD: usize = 20;

/// Why a store could not be written to lines, or read from them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),

    /// The lines could not be read or written.
    #[error("the file cannot be read or written: {0}")]
    File(#[from] io::Error),

    /// A line is no record.
    #[error("line {line}: {problem}")]
    Line {
        /// Which line, from 1.
        line: u64,
        /// What is wrong with it.
        problem: String,
    },

    /// The last line is missing. What came before it has been taken in.
    #[error("the file was cut off: it ends at line {line} without the line that says how much it holds")]
    CutOff {
        /// The last line that is there.
        line: u64,
    },
}

/// How many records there are of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Versions of resources.
    pub resources: u64,
    /// Rollouts.
    pub rollouts: u64,
    /// Attempts.
    pub attempts: u64,
    /// Spans.
    pub spans: u64,
    /// Workers.
    pub workers: u64,
}

impl Counts {
    fn count(&mut self, record: &Record) {
        match record {
            Record::Resources(_) => self.resources += 1,
            Record::Rollout(record) => {
                self.rollouts += 1;
                self.attempts += record.attempts.len() as u64;
            }
            Record::Span(_) => self.spans += 1,
            Record::Worker(_) => self.workers += 1,
        }
    }
}

/// What became of the records that were to be taken in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Imported {
    /// What is new.
    pub stored: Counts,
    /// How many records were there already.
    pub known: u64,
    /// How many records were refused.
    pub rejected: u64,
    /// The first of the refused records: their line, and why.
    pub rejections: Vec<(u64, StoreError)>,
}

/// The first and the last line.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Frame {
    LightningStore { format: u32 },
    End(Counts),
}

/// Writes lines, and counts what is in them.
struct Lines<'a, W> {
    out: &'a mut W,
    counts: Counts,
}

impl<'a, W: Write> Lines<'a, W> {
    fn begin(out: &'a mut W) -> Result<Self, TransferError> {
        line(out, &Frame::LightningStore { format: FORMAT })?;
        Ok(Self {
            out,
            counts: Counts::default(),
        })
    }

    fn write(&mut self, record: &Record) -> Result<(), TransferError> {
        line(self.out, record)?;
        self.counts.count(record);
        Ok(())
    }

    fn end(self) -> Result<Counts, TransferError> {
        line(self.out, &Frame::End(self.counts))?;
        self.out.flush()?;
        Ok(self.counts)
    }
}

fn line(out: &mut impl Write, value: &impl Serialize) -> Result<(), TransferError> {
    serde_json::to_writer(&mut *out, value).map_err(io::Error::from)?;
    out.write_all(b"\n")?;
    Ok(())
}

/// Writes everything that a store holds: resources in all their versions, rollouts with their attempts and spans, workers.
/// Keys of models are written in full; whoever reads the lines has them.
///
/// The store may be in use meanwhile. Each rollout is written as it was at some moment, with its attempts at that moment;
/// what is made after the last page was read is missing. Not written are request keys, and sequence ids that were drawn
/// for spans which never came. The queue's order is that of the rollouts' making when the lines are read.
///
/// # Errors
///
/// Those of the store, and those of `out`.
pub async fn export<W: Write + Send>(store: &dyn Store, out: &mut W) -> Result<Counts, TransferError> {
    let mut lines = Lines::begin(out)?;
    let mut offset = 0;
    loop {
        let query = ResourcesQuery {
            page: page(offset),
            ..ResourcesQuery::default()
        };
        let sets = store.query_resources(query).await?.items;
        offset += sets.len();
        if sets.is_empty() {
            break;
        }
        for set in sets {
            write_versions(store, &mut lines, set).await?;
        }
    }
    offset = 0;
    loop {
        let rollouts = store.query_rollouts(rollouts(None, offset)).await?.items;
        offset += rollouts.len();
        if rollouts.is_empty() {
            break;
        }
        for rollout in rollouts {
            write_rollout(store, &mut lines, rollout).await?;
        }
    }
    offset = 0;
    loop {
        let query = WorkerQuery {
            page: page(offset),
            ..WorkerQuery::default()
        };
        let workers = store.query_workers(query).await?.items;
        offset += workers.len();
        if workers.is_empty() {
            break;
        }
        for worker in workers {
            lines.write(&Record::Worker(Box::new(worker)))?;
        }
    }
    lines.end()
}

fn page(offset: usize) -> PageRequest {
    PageRequest {
        limit: Some(PAGE),
        offset,
    }
}

fn rollouts(status_in: Option<Vec<RolloutStatus>>, offset: usize) -> RolloutQuery {
    RolloutQuery {
        status_in,
        page: page(offset),
        ..RolloutQuery::default()
    }
}

/// All versions of a set, of which the latest is given.
async fn write_versions<W: Write + Send>(
    store: &dyn Store,
    lines: &mut Lines<'_, W>,
    latest: ResourcesUpdate,
) -> Result<(), TransferError> {
    for version in 1..latest.version {
        let earlier = store
            .get_resources_by_id(&latest.resources_id, Some(version))
            .await?;
        if let Some(earlier) = earlier {
            lines.write(&Record::Resources(earlier))?;
        }
    }
    lines.write(&Record::Resources(latest))
}

/// A rollout as it is at one moment, then its spans. How many spans were written.
async fn write_rollout<W: Write + Send>(
    store: &dyn Store,
    lines: &mut Lines<'_, W>,
    mut seen: RolloutSnapshot,
) -> Result<u64, TransferError> {
    let id = seen.rollout.rollout_id.clone();
    let mut attempts = Vec::new();
    for _ in 0..TRIES {
        attempts = all_attempts(store, &id).await?;
        let unchanged = attempts.last() == seen.attempt.as_ref();
        // What has ended moves no more by itself.
        if unchanged && seen.rollout.status.is_terminal() {
            break;
        }
        let Some(again) = store.get_rollout_by_id(&id).await? else {
            return Ok(0);
        };
        let settled = unchanged && again == seen;
        seen = again;
        if settled {
            break;
        }
    }
    lines.write(&Record::Rollout(RolloutRecord {
        rollout: seen.rollout,
        attempts,
    }))?;
    let mut count = 0;
    loop {
        let mut query = SpanQuery::of(id.clone());
        // In the order of arrival, in which none comes before one that was read.
        query.sort_by = None;
        query.page = page(usize::try_from(count).unwrap_or(usize::MAX));
        let spans = store.query_spans(query).await?.items;
        count += spans.len() as u64;
        if spans.is_empty() {
            return Ok(count);
        }
        for span in spans {
            lines.write(&Record::Span(Box::new(span)))?;
        }
    }
}

async fn all_attempts(store: &dyn Store, id: &RolloutId) -> Result<Vec<Attempt>, StoreError> {
    let query = AttemptQuery {
        sort_by: Some(AttemptSortField::SequenceId),
        ..AttemptQuery::default()
    };
    Ok(store.query_attempts(id, query).await?.items)
}

/// Takes in what [`export`] or [`archive`] wrote. A record that is there already, just as it is, is passed over, so what
/// was broken off can be repeated. A record that contradicts itself or what is there is refused alone, and told of.
///
/// # Errors
///
/// Those of the store and of `input`; [`TransferError::Line`], if a line is no record; [`TransferError::CutOff`] at the
/// end. What came before has been taken in.
pub async fn import<R: BufRead + Send>(store: &dyn Store, input: &mut R) -> Result<Imported, TransferError> {
    let mut imported = Imported::default();
    let mut batch = Batch::default();
    let mut text = Vec::new();
    let mut number = 0;
    let (mut begun, mut ended) = (false, false);
    loop {
        text.clear();
        if input.read_until(b'\n', &mut text)? == 0 {
            break;
        }
        number += 1;
        let text = text.trim_ascii();
        if text.is_empty() {
            continue;
        }
        let wrong = |problem: String| TransferError::Line {
            line: number,
            problem,
        };
        if ended {
            return Err(wrong("comes after the line that ends the file".to_owned()));
        }
        if !begun {
            match serde_json::from_slice(text) {
                Ok(Frame::LightningStore { format: FORMAT }) => begun = true,
                Ok(Frame::LightningStore { format }) => {
                    return Err(wrong(format!(
                        "the file has format {format}, this program reads {FORMAT}; use the version that wrote it"
                    )));
                }
                Ok(Frame::End(_)) | Err(_) => {
                    return Err(wrong(
                        "this is no export of a store: it should begin with {\"lightning_store\": …}"
                            .to_owned(),
                    ));
                }
            }
            continue;
        }
        match serde_json::from_slice::<Record>(text) {
            Ok(record) => batch.add(number, record, text.len()),
            Err(error) => match serde_json::from_slice(text) {
                Ok(Frame::End(_)) => ended = true,
                _ => {
                    batch.take_in(store, &mut imported).await?;
                    return Err(wrong(format!("it is no record: {error}")));
                }
            },
        }
        if batch.is_full() {
            batch.take_in(store, &mut imported).await?;
        }
    }
    batch.take_in(store, &mut imported).await?;
    if ended {
        Ok(imported)
    } else {
        Err(TransferError::CutOff { line: number })
    }
}

/// Records that are taken in together.
#[derive(Default)]
struct Batch {
    records: Vec<Record>,
    lines: Vec<u64>,
    bytes: usize,
}

impl Batch {
    fn add(&mut self, line: u64, record: Record, bytes: usize) {
        self.records.push(record);
        self.lines.push(line);
        self.bytes += bytes;
    }

    fn is_full(&self) -> bool {
        self.records.len() >= BATCH || self.bytes >= BATCH_BYTES
    }

    async fn take_in(&mut self, store: &dyn Store, imported: &mut Imported) -> Result<(), StoreError> {
        if self.records.is_empty() {
            return Ok(());
        }
        let batch = std::mem::take(self);
        let mut counts = Vec::with_capacity(batch.records.len());
        for record in &batch.records {
            let mut one = Counts::default();
            one.count(record);
            counts.push(one);
        }
        let outcomes = store.import(batch.records).await?;
        for ((outcome, line), one) in outcomes.into_iter().zip(batch.lines).zip(counts) {
            match outcome {
                ImportOutcome::Stored => imported.stored.add(one),
                ImportOutcome::Known => imported.known += 1,
                ImportOutcome::Rejected(error) => {
                    imported.rejected += 1;
                    if imported.rejections.len() < TOLD {
                        imported.rejections.push((line, error));
                    }
                }
            }
        }
        Ok(())
    }
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.resources += other.resources;
        self.rollouts += other.rollouts;
        self.attempts += other.attempts;
        self.spans += other.spans;
        self.workers += other.workers;
    }
}

/// How much was taken out for good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Removed {
    /// Rollouts.
    pub rollouts: u64,
    /// Attempts.
    pub attempts: u64,
    /// Spans.
    pub spans: u64,
    /// Sets of resources.
    pub resources: u64,
}

impl Removed {
    fn add(&mut self, purged: &Purged) {
        self.rollouts += purged.rollouts.len() as u64;
        self.attempts += purged.attempts;
        self.spans += purged.spans;
        self.resources += purged.resources.len() as u64;
    }
}

/// Takes out for good the rollouts that ended before a time, with their attempts and spans; then the sets of resources that
/// were last changed before that time, unless a rollout names them or they are the latest. Nothing brings them back.
///
/// # Errors
///
/// Those of the store. What was taken out until then is gone.
pub async fn purge(store: &dyn Store, ended_before: Timestamp) -> Result<Removed, StoreError> {
    let mut clearing = Clearing::new(store, ended_before);
    while let Some(old) = clearing.next_rollouts().await? {
        let old = old.into_iter().map(|old| old.rollout.rollout_id.into());
        clearing.take_out(old.collect(), Vec::new()).await?;
    }
    while let Some(old) = clearing.next_resources().await? {
        let old = old.into_iter().map(|set| set.resources_id);
        clearing.take_out(Vec::new(), old.collect()).await?;
    }
    Ok(clearing.removed)
}

/// Where an archive goes.
pub trait ArchiveFile: Write + Send {
    /// Brings what was written to where it survives a loss of power.
    ///
    /// # Errors
    ///
    /// What the system says.
    fn persist(&mut self) -> io::Result<()>;
}

impl ArchiveFile for io::BufWriter<std::fs::File> {
    fn persist(&mut self) -> io::Result<()> {
        self.flush()?;
        self.get_ref().sync_data()
    }
}

impl ArchiveFile for Vec<u8> {
    fn persist(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes what [`purge`] would take out, with the resources that it names, and takes it out once it is written and
/// persisted, portion by portion. A rollout that changes in between stays. [`import`] reads the file.
///
/// When it is broken off, the file lacks its last line; what is gone from the store is in the file all the same.
///
/// # Errors
///
/// Those of the store, and those of `out`.
pub async fn archive<W: ArchiveFile>(
    store: &dyn Store,
    ended_before: Timestamp,
    out: &mut W,
) -> Result<(Counts, Removed), TransferError> {
    let mut written: HashSet<ResourcesId> = HashSet::new();
    let mut lines = Lines::begin(out)?;
    let mut clearing = Clearing::new(store, ended_before);
    while let Some(old) = clearing.next_rollouts().await? {
        let mut targets = Vec::new();
        for rollout in old {
            if let Some(id) = &rollout.rollout.resources_id
                && written.insert(id.clone())
                && let Some(latest) = store.get_resources_by_id(id, None).await?
            {
                write_versions(store, &mut lines, latest).await?;
            }
            let rollout_id = rollout.rollout.rollout_id.clone();
            let spans = Some(write_rollout(store, &mut lines, rollout).await?);
            targets.push(PurgeTarget { rollout_id, spans });
        }
        lines.out.persist()?;
        clearing.take_out(targets, Vec::new()).await?;
    }
    while let Some(old) = clearing.next_resources().await? {
        let ids = old.iter().map(|set| set.resources_id.clone()).collect();
        for set in old {
            if written.insert(set.resources_id.clone()) {
                write_versions(store, &mut lines, set).await?;
            }
        }
        lines.out.persist()?;
        clearing.take_out(Vec::new(), ids).await?;
    }
    let file_counts = lines.counts;
    lines.end()?;
    out.persist()?;
    Ok((file_counts, clearing.removed))
}

/// Goes through what is old, portion by portion, while it is taken out: first the rollouts to their end, then the resources.
struct Clearing<'a> {
    store: &'a dyn Store,
    ended_before: Timestamp,
    /// How many records before the portion have stayed.
    stayed: usize,
    /// How many records of the portion are still there, those included that are not old.
    portion: usize,
    removed: Removed,
}

impl<'a> Clearing<'a> {
    fn new(store: &'a dyn Store, ended_before: Timestamp) -> Self {
        Self {
            store,
            ended_before,
            stayed: 0,
            portion: 0,
            removed: Removed::default(),
        }
    }

    /// What is old in the next portion of the rollouts; `None` when there are no more.
    async fn next_rollouts(&mut self) -> Result<Option<Vec<RolloutSnapshot>>, StoreError> {
        let query = rollouts(Some(terminal()), self.next_offset());
        let mut found = self.store.query_rollouts(query).await?.items;
        let any = self.begin_portion(found.len());
        found.retain(|found| found.rollout.end_time.is_some_and(|end| end < self.ended_before));
        Ok(any.then_some(found))
    }

    /// What is old in the next portion of the sets of resources; `None` when there are no more.
    async fn next_resources(&mut self) -> Result<Option<Vec<ResourcesUpdate>>, StoreError> {
        let query = ResourcesQuery {
            page: page(self.next_offset()),
            ..ResourcesQuery::default()
        };
        let mut found = self.store.query_resources(query).await?.items;
        let any = self.begin_portion(found.len());
        found.retain(|set| set.update_time < self.ended_before);
        Ok(any.then_some(found))
    }

    fn next_offset(&mut self) -> usize {
        self.stayed += std::mem::take(&mut self.portion);
        self.stayed
    }

    /// Whether there is anything in it. After the last one, the next kind of records is begun with.
    fn begin_portion(&mut self, length: usize) -> bool {
        self.portion = length;
        if length == 0 {
            self.stayed = 0;
        }
        length > 0
    }

    /// Takes out of the portion what may be taken out.
    async fn take_out(
        &mut self,
        rollouts: Vec<PurgeTarget>,
        resources: Vec<ResourcesId>,
    ) -> Result<(), StoreError> {
        if rollouts.is_empty() && resources.is_empty() {
            return Ok(());
        }
        let purged = self.store.purge(rollouts, resources).await?;
        self.removed.add(&purged);
        let gone = purged.rollouts.len() + purged.resources.len();
        self.portion = self.portion.saturating_sub(gone);
        Ok(())
    }
}

fn terminal() -> Vec<RolloutStatus> {
    let all = RolloutStatus::ALL.into_iter();
    all.filter(|status| status.is_terminal()).collect()
}
