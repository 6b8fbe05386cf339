//! What is noted of a call while it passes.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::{
    clock::Clock,
    llm_proxy::capture::{CallTicket, Exchange},
};

/// A call as it is noted down. However the call ends, also when it is dropped, the note is handed over.
pub(super) struct Record(Option<Box<Open>>);

struct Open {
    ticket: CallTicket,
    exchange: Exchange,
    copy: BytesMut,
    limit: usize,
    clock: Arc<dyn Clock>,
}

impl Record {
    /// Nothing is noted.
    pub(super) fn none() -> Self {
        Self(None)
    }

    /// Notes a call down, and at most so many bytes of its answer.
    pub(super) fn new(ticket: CallTicket, exchange: Exchange, limit: usize, clock: Arc<dyn Clock>) -> Self {
        Self(Some(Box::new(Open {
            ticket,
            exchange,
            copy: BytesMut::new(),
            limit,
            clock,
        })))
    }

    /// Changes the note, if there is one.
    pub(super) fn note(&mut self, change: impl FnOnce(&mut Exchange)) {
        if let Some(open) = &mut self.0 {
            change(&mut open.exchange);
        }
    }

    /// Notes that the answer's body begins.
    pub(super) fn first_byte(&mut self) {
        if let Some(open) = &mut self.0 {
            open.exchange.first_byte = Some(open.clock.now());
        }
    }

    /// Keeps a copy of a piece of the answer.
    pub(super) fn piece(&mut self, piece: &[u8]) {
        if let Some(open) = &mut self.0 {
            let room = open.limit - open.copy.len();
            open.exchange.truncated |= piece.len() > room;
            open.copy.extend_from_slice(&piece[..piece.len().min(room)]);
        }
    }

    /// Whether what was kept of the answer ends in this.
    pub(super) fn ends_with(&self, end: &[u8]) -> bool {
        self.0
            .as_ref()
            .is_some_and(|open| open.copy.trim_ascii_end().ends_with(end))
    }

    /// The call has ended: well, or in this way. Later ends do not count.
    pub(super) fn end(&mut self, error: Option<String>) {
        if let Some(open) = self.0.take() {
            let Open {
                ticket,
                mut exchange,
                copy,
                clock,
                ..
            } = *open;
            exchange.error = error;
            exchange.ended = clock.now();
            exchange.response = Bytes::from(copy);
            ticket.finish(exchange);
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.end(Some("the client went away".to_owned()));
    }
}
