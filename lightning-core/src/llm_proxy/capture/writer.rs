//! From calls to spans at the store, whatever the store does meanwhile.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use super::{
    Exchange, RecorderOptions,
    recorder::Whose,
    spans::{of_call, of_loss},
};
use crate::{
    clock::Clock,
    ids::IdSource,
    store::{SpanOutcome, Store, StoreError},
    types::{Span, SpanResource},
};

/// How often something is tried that the store says it fails at, before it is given up: its own content may be the cause.
/// A store that is away is waited for.
const FAILURES: u32 = 8;
/// After how many bytes of what calls said those are stored that have been read, before others are. Answers that were packed
/// may be a thousand times as long as their copies.
const PORTION_BYTES: usize = 16 << 20;

/// Stores spans. What it is told to store is stored when it returns, or refused for good.
#[derive(Debug)]
pub(super) struct Writer {
    store: StoreHandle,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
    resource: Arc<SpanResource>,
    first_retry: Duration,
    longest_retry: Duration,
}

struct StoreHandle(Arc<dyn Store>);

impl std::fmt::Debug for StoreHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Store")
    }
}

/// The spans of one call.
type OfCall = Vec<Span>;

impl Writer {
    pub(super) fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn IdSource>,
        options: &RecorderOptions,
    ) -> Self {
        let mut resource = SpanResource::default();
        let name = "lightning-llm-proxy".into();
        resource.attributes.insert("service.name".to_owned(), name);
        Self {
            store: StoreHandle(store),
            clock,
            ids,
            resource: Arc::new(resource),
            first_retry: options.first_retry,
            longest_retry: options.longest_retry,
        }
    }

    /// Stores the calls; how many the store did not want.
    pub(super) async fn store_calls(&self, calls: Vec<Exchange>) -> usize {
        let mut refused = 0;
        let mut left = VecDeque::from(calls);
        while !left.is_empty() {
            let count = left.len();
            let (ids, resource) = (Arc::clone(&self.ids), Arc::clone(&self.resource));
            // Answers may be long, and reading them takes its time: not on the threads that forward calls.
            let read = tokio::task::spawn_blocking(move || {
                let spans = read_portion(&mut left, &*ids, &resource);
                (spans, left)
            });
            let (spans, rest) = match read.await {
                Ok(read) => read,
                Err(error) => {
                    tracing::error!(target: "lightning::llm_proxy", error = %error, calls = count, "calls cannot be read");
                    return refused + count;
                }
            };
            refused += count - rest.len() - spans.len();
            left = rest;
            if !spans.is_empty() {
                refused += self.store_all(spans).await;
            }
        }
        refused
    }

    /// Stores what says that calls are missing.
    pub(super) async fn store_losses(&self, losses: Vec<(Whose, u64)>) {
        let now = self.clock.now();
        let marks = losses.iter().map(|(whose, calls)| {
            tracing::warn!(
                target: "lightning::llm_proxy",
                rollout_id = %whose.0,
                attempt_id = %whose.1,
                calls,
                "calls of an attempt were not recorded: the store did not take them in time"
            );
            vec![of_loss(whose, *calls, now, &*self.ids, &self.resource)]
        });
        let marks = marks.collect();
        self.store_all(marks).await;
    }

    async fn store_all(&self, mut calls: Vec<OfCall>) -> usize {
        if let Err(error) = self.number(&mut calls).await {
            return refuse(&calls, &error);
        }
        let mut refused = 0;
        // Together first; if the store does not want that, one by one, so that what does not fit fails alone.
        let error = match self.send(&calls).await {
            Ok(unwanted) => return unwanted,
            Err(error) => error,
        };
        if calls.len() == 1 {
            return refuse(&calls, &error);
        }
        for call in calls {
            let alone = [call];
            refused += match self.send(&alone).await {
                Ok(unwanted) => unwanted,
                Err(error) => refuse(&alone, &error),
            };
        }
        refused
    }

    /// Gives sequence ids to the calls that have none.
    async fn number(&self, calls: &mut [OfCall]) -> Result<(), StoreError> {
        let is_without = |call: &OfCall| call.first().is_some_and(|span| span.sequence_id == 0);
        let without = calls
            .iter()
            .filter(|call| is_without(call))
            .filter_map(|call| call.first());
        let targets: Vec<Whose> = without
            .map(|span| (span.rollout_id.clone(), span.attempt_id.clone()))
            .collect();
        if targets.is_empty() {
            return Ok(());
        }
        let mut retry = Retry::new(self);
        let ids = loop {
            match self.store.0.get_many_span_sequence_ids(targets.clone()).await {
                Ok(ids) => break ids,
                Err(error) => retry.after(error).await?,
            }
        };
        let unnumbered = calls.iter_mut().filter(|call| is_without(call));
        for (call, id) in unnumbered.zip(ids) {
            for span in call {
                span.sequence_id = id;
            }
        }
        Ok(())
    }

    /// Sends the spans until each is stored or refused; how many calls have spans that were refused.
    async fn send(&self, calls: &[OfCall]) -> Result<usize, StoreError> {
        let mut unsent: Vec<(usize, &Span)> = Vec::new();
        for (call, spans) in calls.iter().enumerate() {
            unsent.extend(spans.iter().map(|span| (call, span)));
        }
        let mut refused = vec![false; calls.len()];
        let mut retry = Retry::new(self);
        while !unsent.is_empty() {
            let spans: Vec<Span> = unsent.iter().map(|(_, span)| (*span).clone()).collect();
            let outcomes = match self.store.0.add_many_spans(spans).await {
                Ok(outcomes) if outcomes.len() == unsent.len() => outcomes,
                Ok(_) => {
                    let reason = "it did not answer with one outcome for each span".to_owned();
                    retry.after(StoreError::Internal { reason, source: None }).await?;
                    continue;
                }
                Err(error) => {
                    retry.after(error).await?;
                    continue;
                }
            };
            let mut again = Vec::new();
            let mut passing = None;
            for ((call, span), outcome) in unsent.into_iter().zip(outcomes) {
                match outcome {
                    SpanOutcome::Stored | SpanOutcome::Duplicate => {}
                    SpanOutcome::Rejected(error) if is_passing(&error) => {
                        again.push((call, span));
                        passing = Some(error);
                    }
                    SpanOutcome::Rejected(error) => {
                        if !std::mem::replace(&mut refused[call], true) {
                            unwanted(span, &error);
                        }
                    }
                }
            }
            unsent = again;
            if let Some(error) = passing {
                retry.after(error).await?;
            }
        }
        retry.over();
        Ok(refused.into_iter().filter(|refused| *refused).count())
    }
}

/// Takes calls, and reads them, until it is enough at once. A call that cannot be read is left out.
fn read_portion(
    left: &mut VecDeque<Exchange>,
    ids: &dyn IdSource,
    resource: &Arc<SpanResource>,
) -> Vec<OfCall> {
    let (mut spans, mut bytes) = (Vec::new(), 0);
    while bytes < PORTION_BYTES
        && let Some(call) = left.pop_front()
    {
        // What is read comes from outside, and the others' records do not depend on it.
        match catch_unwind(AssertUnwindSafe(|| of_call(&call, ids, resource))) {
            Ok((of_call, length)) => {
                bytes += length;
                spans.push(of_call);
            }
            Err(_) => tracing::error!(
                target: "lightning::llm_proxy",
                rollout_id = %call.rollout,
                attempt_id = %call.attempt,
                "a call cannot be read; this is a defect"
            ),
        }
    }
    spans
}

fn refuse(calls: &[OfCall], error: &StoreError) -> usize {
    for span in calls.iter().filter_map(|call| call.first()) {
        unwanted(span, error);
    }
    calls.len()
}

fn unwanted(span: &Span, error: &StoreError) {
    tracing::warn!(
        target: "lightning::llm_proxy",
        rollout_id = %span.rollout_id,
        attempt_id = %span.attempt_id,
        error = %error,
        "the store refused a call"
    );
}

fn is_passing(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::Unavailable { .. } | StoreError::Internal { .. }
    )
}

/// Waits longer each time.
struct Retry<'a> {
    writer: &'a Writer,
    pause: Duration,
    tries: u32,
    failures: u32,
}

impl<'a> Retry<'a> {
    fn new(writer: &'a Writer) -> Self {
        Self {
            writer,
            pause: writer.first_retry,
            tries: 0,
            failures: 0,
        }
    }

    /// Waits before the next try. Gives the error back if another try is no use.
    async fn after(&mut self, error: StoreError) -> Result<(), StoreError> {
        self.failures += u32::from(matches!(error, StoreError::Internal { .. }));
        if !is_passing(&error) || self.failures >= FAILURES {
            return Err(error);
        }
        if self.tries == 0 {
            tracing::warn!(
                target: "lightning::llm_proxy",
                error = %error,
                "calls of models could not be recorded; trying again"
            );
        }
        self.tries += 1;
        let clock = &self.writer.clock;
        clock.sleep_past(clock.now() + self.pause).await;
        self.pause = (self.pause * 2).min(self.writer.longest_retry);
        Ok(())
    }

    fn over(&self) {
        if self.tries > 0 {
            tracing::info!(target: "lightning::llm_proxy", tries = self.tries, "calls of models are recorded again");
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{model_wire::Endpoint, testing::SequentialIds, types::Timestamp};

    fn call(response: &Bytes) -> Exchange {
        let zero = Timestamp::from_secs_f64(0.0);
        Exchange {
            rollout: "ro-1".into(),
            attempt: "at-1".into(),
            sequence_id: None,
            endpoint: Endpoint::ChatCompletions,
            model: "m".to_owned(),
            upstream_model: "m".to_owned(),
            backend: "b".to_owned(),
            request: Bytes::from_static(b"{}"),
            http_status: 200,
            streamed: false,
            content_encoding: Some("gzip".to_owned()),
            response: response.clone(),
            truncated: false,
            error: None,
            started: zero,
            first_byte: None,
            ended: zero,
            retries: 0,
        }
    }

    /// A batch is small by its copies, and may be large by what they say.
    #[test]
    fn what_is_read_at_once_is_bounded_by_what_it_says() {
        use std::io::Write as _;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&vec![b' '; PORTION_BYTES / 4]).unwrap();
        let packed = Bytes::from(encoder.finish().unwrap());
        assert!(packed.len() < PORTION_BYTES / 100);
        let mut left: VecDeque<Exchange> = (0..10).map(|_| call(&packed)).collect();
        let (ids, resource) = (SequentialIds::default(), Arc::default());
        let mut portions = Vec::new();
        while !left.is_empty() {
            portions.push(read_portion(&mut left, &ids, &resource).len());
        }
        assert_eq!(portions, [4, 4, 2]);
    }
}
