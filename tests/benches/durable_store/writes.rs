//! Against a file that is appended to and synced.

use std::{
    fs::File,
    io::Write as _,
    path::Path,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use lightning_core::store::{SqliteStore, Store};
use tokio::sync::{mpsc, oneshot};

use super::{ROUNDS, compare, folder, median, task};

const WRITERS: usize = 256;
const WRITES_EACH: usize = 40;
const WRITES_ALONE: usize = 300;

pub fn run() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let folder = folder();
        let record = serde_json::to_vec(&task()).unwrap();
        let store = Arc::new(SqliteStore::open(folder.path("store.db")).unwrap());
        let log = Arc::new(RawLog::start(&folder.path("log"), record.clone()));
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let appended = log.clone();
            theirs.push(many(move || append(appended.clone())).await);
            let written = store.clone();
            ours.push(many(move || write(written.clone())).await);
        }
        compare(
            "256 writers, acknowledged writes",
            "1/s",
            &ours,
            &theirs,
            "≥ 0.70",
        );
        println!(
            "  batches of the raw log: {:.1} writes on average",
            log.batch_size()
        );

        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        let mut file = File::create(folder.path("alone")).unwrap();
        for _ in 0..ROUNDS {
            let mut times = Vec::new();
            for _ in 0..WRITES_ALONE {
                let began = Instant::now();
                file.write_all(&record).unwrap();
                file.sync_data().unwrap();
                times.push(microseconds(began.elapsed()));
            }
            theirs.push(median(times));
            let mut times = Vec::new();
            for _ in 0..WRITES_ALONE {
                let began = Instant::now();
                store.enqueue_rollout(task()).await.unwrap();
                times.push(microseconds(began.elapsed()));
            }
            ours.push(median(times));
        }
        compare("1 writer, median of a write", "µs", &ours, &theirs, "≤ 1.25");
    });
}

async fn append(log: Arc<RawLog>) {
    log.append().await;
}

async fn write(store: Arc<SqliteStore>) {
    store.enqueue_rollout(task()).await.unwrap();
}

fn microseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// Operations a second of many callers, each of which waits for its answer before it goes on.
async fn many<F: Future<Output = ()> + Send + 'static>(
    operation: impl Fn() -> F + Clone + Send + 'static,
) -> f64 {
    let began = Instant::now();
    let callers: Vec<_> = (0..WRITERS)
        .map(|_| {
            let operation = operation.clone();
            tokio::spawn(async move {
                for _ in 0..WRITES_EACH {
                    operation().await;
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    (WRITERS * WRITES_EACH) as f64 / began.elapsed().as_secs_f64()
}

/// A thread that appends what has come, syncs, and acknowledges: the least that durability costs.
struct RawLog {
    appends: Option<mpsc::UnboundedSender<oneshot::Sender<()>>>,
    thread: Option<JoinHandle<()>>,
    counts: Arc<std::sync::Mutex<(usize, usize)>>,
}

impl RawLog {
    fn start(path: &Path, record: Vec<u8>) -> Self {
        let mut file = File::create(path).unwrap();
        let (appends, mut inbox) = mpsc::unbounded_channel::<oneshot::Sender<()>>();
        let counts = Arc::new(std::sync::Mutex::new((0, 0)));
        let counted = counts.clone();
        let thread = std::thread::spawn(move || {
            while let Some(first) = inbox.blocking_recv() {
                let mut batch = vec![first];
                while let Ok(next) = inbox.try_recv() {
                    batch.push(next);
                }
                file.write_all(&record.repeat(batch.len())).unwrap();
                file.sync_data().unwrap();
                let mut counts = counted.lock().unwrap();
                *counts = (counts.0 + batch.len(), counts.1 + 1);
                drop(counts);
                for reply in batch {
                    let _ = reply.send(());
                }
            }
        });
        Self {
            appends: Some(appends),
            thread: Some(thread),
            counts,
        }
    }

    async fn append(&self) {
        let (reply, answer) = oneshot::channel();
        self.appends.as_ref().unwrap().send(reply).unwrap();
        answer.await.unwrap();
    }

    fn batch_size(&self) -> f64 {
        let (appends, batches) = *self.counts.lock().unwrap();
        appends as f64 / batches as f64
    }
}

impl Drop for RawLog {
    fn drop(&mut self) {
        self.appends = None;
        self.thread.take().map(JoinHandle::join);
    }
}
