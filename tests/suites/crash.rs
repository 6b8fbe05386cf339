//! The durable store killed with SIGKILL at random moments: what was acknowledged is there, what was not is there as a
//! whole or not at all, and work goes on.
//!
//! `LIGHTNING_CRASH_ROUNDS` sets how often it is killed (20 times unless told; `just crash`: 300 times), and
//! `LIGHTNING_CRASH_SEED` repeats the moments of an earlier run as far as the machine lets it.
//!
//! In every other round, what the writer may not yet have synced of the write-ahead log is lost, or replaced by noise,
//! before the file is opened again. That is what a file system does that loses appended data at a power cut: each byte
//! after the last acknowledged sync is gone, or anything. Not modelled is a loss of what was written back into the
//! database itself, which happens at checkpoints only.

#[path = "crash/ledger.rs"]
mod ledger;

use std::{
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    process::{Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use lightning_core::store::{SqliteStore, sqlite};
use lightning_tests::{crash::Said, scratch::Scratch};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use self::ledger::Ledger;

/// After so many rounds the file is begun anew, so that looking it through stays quick.
const ROUNDS_PER_FILE: u64 = 10;

#[test]
fn nothing_acknowledged_is_lost_when_the_process_is_killed() {
    let rounds = setting("LIGHTNING_CRASH_ROUNDS").unwrap_or(20);
    let seed = setting("LIGHTNING_CRASH_SEED").unwrap_or_else(|| rand::rng().random());
    println!("LIGHTNING_CRASH_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let mut totals = Totals::default();
    let mut folder = Scratch::on_disk();
    let mut ledger = Ledger::default();
    for round in 0..rounds {
        if round % ROUNDS_PER_FILE == 0 {
            folder = Scratch::on_disk();
            ledger = Ledger::default();
        }
        let path = folder.path("crash.db");
        let lifetime = Duration::from_millis(random.random_range(0..200));
        let said = live_and_die(&path, round, None, lifetime);
        totals.acknowledged += said.len();
        if round % 2 == 1 {
            totals.bytes_lost += lose_what_was_not_synced(&path, &said, &mut random);
        }
        ledger.note(said);
        let store = SqliteStore::open(&path).unwrap_or_else(|error| panic!("round {round}: {error}"));
        totals.there_unacknowledged += runtime.block_on(ledger.hold_against(&store));
        drop(store);
        let problems = sqlite::check(&path).unwrap();
        assert!(problems.is_empty(), "round {round}: {problems:#?}");
    }
    println!("{rounds} rounds: {totals:?}");
    assert!(
        totals.acknowledged > 20 * usize::try_from(rounds).unwrap(),
        "too little happened to prove anything: {totals:?}"
    );
}

/// Stores that do what none may do. Each is killed until the damage shows, which takes one or two times: they are mostly
/// in the middle of what they must not do.
#[test]
fn a_store_that_acknowledges_too_early_or_does_things_by_halves_is_found_out() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let mut random = StdRng::seed_from_u64(rand::rng().random());
    for (fault, complaint) in [
        ("early", "the acknowledged span"),
        ("halves", "are there in part"),
    ] {
        let found = (0..40).find_map(|life| {
            let folder = Scratch::on_disk();
            let path = folder.path("broken.db");
            let lifetime = Duration::from_millis(random.random_range(100..300));
            let mut ledger = Ledger::default();
            ledger.note(live_and_die(&path, 8 * life, Some(fault), lifetime));
            let store = SqliteStore::open(&path).unwrap();
            let held = std::panic::AssertUnwindSafe(|| runtime.block_on(ledger.hold_against(&store)));
            let damage = std::panic::catch_unwind(held).err()?;
            Some(*damage.downcast::<String>().expect("a message"))
        });
        let found = found.unwrap_or_else(|| panic!("`{fault}` was never found out"));
        assert!(found.contains(complaint), "{found}");
    }
}

/// The operating system stands in for a full disk: it lets no file grow beyond a size, and the writes of SQLite fail.
#[cfg(unix)]
#[test]
fn nothing_acknowledged_is_lost_when_writes_fail() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let folder = Scratch::on_disk();
    let path = folder.path("full.db");
    let mut ledger = Ledger::default();
    for (life, blocks) in [(1, 600), (2, 1200), (3, 2400)] {
        let output = Command::new("sh")
            .args(["-c", "trap '' XFSZ; ulimit -f $0; exec \"$@\""])
            .arg(blocks.to_string())
            .arg(env!("CARGO_BIN_EXE_durable_writer"))
            .arg(&path)
            .arg(life.to_string())
            .output()
            .unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(complaint.contains("full.db: "), "{complaint}");
        assert!(!output.status.success());
        let said = String::from_utf8(output.stdout).unwrap();
        let said: Vec<Said> = said
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert!(
            said.len() > 10,
            "the file was full too soon to prove anything: {}",
            said.len()
        );
        ledger.note(said);
        let store = SqliteStore::open(&path).unwrap();
        runtime.block_on(ledger.hold_against(&store));
        drop(store);
        assert_eq!(sqlite::check(&path).unwrap(), Vec::<String>::new());
    }
}

#[derive(Debug, Default)]
struct Totals {
    acknowledged: usize,
    there_unacknowledged: usize,
    bytes_lost: u64,
}

fn setting(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name} has to be a number")),
    )
}

/// Runs the writer, with a store that is at fault if one is named, kills it so long after it has opened the store, and gives everything that it said before.
fn live_and_die(path: &Path, life: u64, fault: Option<&str>, lifetime: Duration) -> Vec<Said> {
    let mut writer = Command::new(env!("CARGO_BIN_EXE_durable_writer"))
        .arg(path)
        .arg(life.to_string())
        .args(fault)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let output = writer.stdout.take().unwrap();
    let (opened, open) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut said = Vec::new();
        let mut output = BufReader::new(output);
        let mut line = String::new();
        // A last line without its end was cut off by the kill: it was not said.
        while output.read_line(&mut line).unwrap() > 0 && line.ends_with('\n') {
            said.push(serde_json::from_str(&line).unwrap());
            line.clear();
            if said.len() == 1 {
                let _ = opened.send(());
            }
        }
        said
    });
    // Every eighth writer is killed while it may still be opening the file.
    if life % 8 != 7 {
        let _ = open.recv_timeout(Duration::from_secs(30));
    }
    let until = Instant::now() + lifetime;
    while let Some(rest) = until.checked_duration_since(Instant::now()) {
        std::thread::park_timeout(rest);
    }
    writer.kill().unwrap();
    writer.wait().unwrap();
    let mut complaint = String::new();
    writer
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut complaint)
        .unwrap();
    assert!(complaint.is_empty(), "the writer ended by itself: {complaint}");
    reader.join().unwrap()
}

/// Cuts the write-ahead log somewhere after what was synced, or writes noise there. How many bytes that concerned.
fn lose_what_was_not_synced(path: &Path, said: &[Said], random: &mut StdRng) -> u64 {
    let synced = said.iter().filter_map(|said| match said {
        Said::Synced(length) => Some(*length),
        _ => None,
    });
    let synced = synced.max().unwrap_or(0);
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let Ok(mut bytes) = std::fs::read(&log) else {
        return 0;
    };
    let length = bytes.len() as u64;
    // Once the log was begun anew, its length no longer tells what was synced.
    let begun_anew = synced > 7 << 20;
    // Before anything was acknowledged, the tables themselves may not be there yet.
    if length <= synced || begun_anew || synced == 0 {
        return 0;
    }
    let cut = random.random_range(synced..length);
    let at = usize::try_from(cut).unwrap();
    if random.random() {
        bytes.truncate(at);
    } else {
        random.fill(&mut bytes[at..]);
    }
    std::fs::write(&log, bytes).unwrap();
    length - cut
}
