//! Messages of panics above the bars.
//!
//! An agent may panic and the run goes on, and so do its bars: the message must not end up among them.

use std::{
    panic,
    sync::mpsc,
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::terminal::Screen;

/// How long a message waits for the bars to be gone. They would stay if the panic was in drawing them.
const PATIENCE: Duration = Duration::from_secs(1);

/// Has what reports panics now report them while the bars of the screen are off.
pub(super) fn report_above_bars(screen: Screen) {
    if !screen.is_terminal() {
        return;
    }
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        let bars = WithoutBars::begin(&screen);
        report(panic);
        drop(bars);
    }));
}

/// Keeps the bars off, from another thread: one that panics draws nothing.
struct WithoutBars {
    end: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl WithoutBars {
    fn begin(screen: &Screen) -> Self {
        let (end, ended) = mpsc::channel::<()>();
        let (gone, are_gone) = mpsc::channel();
        let screen = screen.clone();
        let meanwhile = move || {
            let _ = gone.send(());
            // It ends as the sender is dropped.
            let _ = ended.recv();
        };
        let thread = thread::Builder::new().spawn(move || screen.without_bars(meanwhile));
        let are_gone = are_gone.recv_timeout(PATIENCE).is_ok();
        Self {
            end: Some(end),
            // A thread that waits for ours must not be waited for.
            thread: thread.ok().filter(|_| are_gone),
        }
    }
}

impl Drop for WithoutBars {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
