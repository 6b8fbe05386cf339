//! Something to write on.

use std::{
    io::{self, Write},
    mem,
    sync::{Arc, Mutex},
};

use lightning_core::{
    run::{Progress, RunContext},
    store::MemoryStore,
    terminal::TerminalProgress,
};

/// Keeps what is written. A clone is the same sheet.
#[derive(Clone, Default)]
pub(crate) struct Paper(Arc<Mutex<Vec<u8>>>);

impl Paper {
    /// What was written since this was last asked.
    pub(crate) fn take(&self) -> String {
        String::from_utf8(mem::take(&mut *self.0.lock().unwrap())).unwrap()
    }
}

impl Write for Paper {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Refuses everything, as a pipe does whose reader has gone.
pub(crate) struct Closed;

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::BrokenPipe.into())
    }
}

/// A run whose progress goes there.
pub(crate) struct Watched {
    pub(crate) progress: Arc<TerminalProgress>,
    run: RunContext,
}

impl Watched {
    pub(crate) fn new(progress: TerminalProgress) -> Self {
        let progress = Arc::new(progress);
        let store = Arc::new(MemoryStore::new());
        let run = RunContext::builder("run", store)
            .progress(progress.clone())
            .build();
        Self { progress, run }
    }

    pub(crate) fn begin(&self, label: &str, total: impl Into<Option<u64>>) -> Progress {
        self.run.progress(label, total.into())
    }
}
