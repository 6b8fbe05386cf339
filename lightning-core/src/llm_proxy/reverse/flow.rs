//! Counting the calls under way, and holding new ones back.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use tokio::sync::Notify;

/// Which calls are under way, and whether more may come.
#[derive(Debug, Default)]
pub(super) struct Flow {
    under_way: AtomicUsize,
    paused: AtomicBool,
    none_left: Notify,
}

/// A call that is under way, until it is dropped.
#[derive(Debug)]
pub(super) struct Pass(Arc<Flow>);

impl Flow {
    /// Lets a call in, unless paused.
    pub(super) fn enter(self: &Arc<Self>) -> Option<Pass> {
        // Counted before it is looked whether it may enter: who pauses and then finds nobody under way is right.
        self.under_way.fetch_add(1, Ordering::SeqCst);
        let pass = Pass(Arc::clone(self));
        (!self.paused.load(Ordering::SeqCst)).then_some(pass)
    }

    pub(super) fn pause(&self) {
        self.paused.store(true, Ordering::SeqCst);
    }

    pub(super) fn resume(&self) {
        self.paused.store(false, Ordering::SeqCst);
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::SeqCst)
    }

    pub(super) fn under_way(&self) -> usize {
        self.under_way.load(Ordering::SeqCst)
    }

    /// Resolves when no call is under way.
    pub(super) async fn drained(&self) {
        let mut left = std::pin::pin!(self.none_left.notified());
        loop {
            left.as_mut().enable();
            if self.under_way() == 0 {
                return;
            }
            left.as_mut().await;
            left.set(self.none_left.notified());
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if self.0.under_way.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.none_left.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;

    #[tokio::test]
    async fn drained_waits_for_the_last_call() {
        let flow = Arc::new(Flow::default());
        let (first, second) = (flow.enter().unwrap(), flow.enter().unwrap());
        flow.pause();
        assert!(flow.enter().is_none());
        let mut drained = Box::pin(flow.drained());
        assert!((&mut drained).now_or_never().is_none());
        drop(first);
        assert!((&mut drained).now_or_never().is_none());
        drop(second);
        drained.await;
        flow.resume();
        assert!(flow.enter().is_some());
        flow.drained().await;
    }
}
