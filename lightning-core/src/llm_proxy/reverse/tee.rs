//! An answer's body on its way to the client: bytes go out as they come in, and a copy is kept.

use std::{
    future::Future as _,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Duration, Instant, Sleep};

use super::{flow::Pass, gate::Permit, record::Record};

/// A body that the proxy sends.
pub(super) enum Outgoing {
    /// The proxy's own words.
    Whole(Full<Bytes>),
    /// What a backend says.
    Tee(Box<Tee>),
}

/// Why a body broke off.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("the connection to the backend was lost: {0}")]
    Lost(String),
    #[error("the backend sent nothing for {0:?}")]
    Silent(Duration),
    #[error("the answer took longer than {0:?}")]
    TooLong(Duration),
}

/// The body of a backend's answer.
pub(super) struct Tee {
    inner: Incoming,
    /// The first piece, which was waited for before the head went out.
    first: Option<Frame<Bytes>>,
    record: Record,
    patience: Patience,
    /// What the call holds for as long as it lasts.
    _held: (Pass, [Permit; 2]),
}

/// How long the backend may be silent, and when the call must be over.
pub(super) struct Patience {
    pub(super) between: Duration,
    pub(super) total: Duration,
    pub(super) until: Instant,
    /// Since when nothing has come although the client would take it.
    pub(super) silent_since: Option<Instant>,
    pub(super) timer: Option<Pin<Box<Sleep>>>,
}

impl Tee {
    pub(super) fn new(
        inner: Incoming,
        first: Option<Frame<Bytes>>,
        mut record: Record,
        patience: Patience,
        held: (Pass, [Permit; 2]),
    ) -> Self {
        if let Some(piece) = first.as_ref().and_then(Frame::data_ref) {
            record.first_byte();
            record.piece(piece);
        }
        let mut tee = Self {
            inner,
            first,
            record,
            patience,
            _held: held,
        };
        tee.notice_end();
        tee
    }

    /// Ends the note as soon as the backend has sent all, rather than when the client has read all.
    fn notice_end(&mut self) {
        if self.inner.is_end_stream() {
            self.record.end(None);
        }
    }

    fn piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Ready(piece) => {
                self.patience.silent_since = None;
                match piece {
                    Some(Ok(frame)) => {
                        if let Some(piece) = frame.data_ref() {
                            self.record.piece(piece);
                        }
                        self.notice_end();
                        Poll::Ready(Some(Ok(frame)))
                    }
                    Some(Err(error)) => Poll::Ready(Some(Err(Broken::Lost(causes(&error))))),
                    None => {
                        self.record.end(None);
                        Poll::Ready(None)
                    }
                }
            }
            Poll::Pending => {
                let broken = ready!(self.patience.poll(cx));
                Poll::Ready(Some(Err(broken)))
            }
        }
    }
}

impl Patience {
    pub(super) fn new(between: Duration, total: Duration, until: Instant) -> Self {
        Self {
            between,
            total,
            until,
            silent_since: None,
            timer: None,
        }
    }

    /// Resolves when it has run out. The timer is set anew only when it fires, not for each piece.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
        let since = *self.silent_since.get_or_insert_with(Instant::now);
        let until = self.until.min(since + self.between);
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        loop {
            if timer.deadline() > until {
                timer.as_mut().reset(until);
            }
            ready!(timer.as_mut().poll(cx));
            let now = Instant::now();
            if now >= self.until {
                return Poll::Ready(Broken::TooLong(self.total));
            }
            if now >= since + self.between {
                return Poll::Ready(Broken::Silent(self.between));
            }
            timer.as_mut().reset(until);
        }
    }
}

impl Drop for Tee {
    fn drop(&mut self) {
        // Many clients hang up on the word that ends a stream, before the transfer has ended.
        if self.first.is_none() && self.record.ends_with(b"data: [DONE]") {
            self.record.end(None);
        }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match &mut *self {
            Self::Whole(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
            Self::Tee(tee) => {
                let piece = ready!(tee.piece(cx));
                if let Some(Err(broken)) = &piece {
                    tee.record.end(Some(broken.to_string()));
                    tracing::warn!(target: "lightning::llm_proxy", error = %broken, "an answer broke off");
                }
                Poll::Ready(piece)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_end_stream(),
            Self::Tee(tee) => tee.first.is_none() && tee.inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Tee(tee) => {
                let held = tee.first.as_ref().and_then(Frame::data_ref).map_or(0, Bytes::len) as u64;
                let rest = tee.inner.size_hint();
                let mut hint = SizeHint::new();
                hint.set_lower(rest.lower().saturating_add(held));
                if let Some(upper) = rest.upper() {
                    hint.set_upper(upper.saturating_add(held));
                }
                hint
            }
        }
    }
}

/// An error with its causes.
pub(super) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}
