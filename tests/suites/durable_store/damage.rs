//! Files that lost a part, or hold something else.

use lightning_core::{
    store::{SqliteStore, Store, sqlite},
    types::RolloutQuery,
};
use lightning_tests::scratch::Scratch;

use super::{enqueue, filled, refused};

/// Opens the file and reads everything: how many rollouts there are, or what is wrong.
async fn read_all(path: &std::path::Path) -> Result<usize, String> {
    let store = SqliteStore::open(path).map_err(|error| error.to_string())?;
    let page = store.query_rollouts(RolloutQuery::default()).await;
    page.map(|page| page.items.len())
        .map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_file_that_was_cut_short_is_an_error_wherever_it_was_cut() {
    let folder = Scratch::fast();
    let whole = std::fs::read(filled(&folder, 200).await).unwrap();
    let path = folder.path("cut.db");
    let step = whole.len() / 23;
    for length in (0..whole.len()).step_by(step) {
        std::fs::write(&path, &whole[..length]).unwrap();
        let problem = read_all(&path).await.expect_err("a part is missing");
        let told = ["damaged", "is empty", "another program"]
            .iter()
            .any(|word| problem.contains(word));
        assert!(told, "cut to {length}: {problem}");
        assert!(!problem.contains("panic"), "{problem}");
    }
    std::fs::write(&path, &whole).unwrap();
    assert_eq!(read_all(&path).await, Ok(200));
}

#[tokio::test]
async fn a_file_of_noise_is_an_error() {
    let folder = Scratch::fast();
    let path = folder.path("noise.db");
    std::fs::write(
        &path,
        "no database at all, but long enough to be one".repeat(1000),
    )
    .unwrap();
    let error = refused(&path);
    assert!(error.to_string().contains("not a store"), "{error}");
}

#[tokio::test]
async fn noise_in_the_middle_is_found_by_the_check() {
    let folder = Scratch::fast();
    let path = filled(&folder, 200).await;
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 4096].fill(0xa5);
    std::fs::write(&path, bytes).unwrap();
    let found = sqlite::check(&path);
    assert!(
        found.as_ref().map_or(true, |problems| !problems.is_empty()),
        "{found:?}"
    );
}

/// What the check looks for, each broken by hand.
#[tokio::test]
async fn records_that_contradict_each_other_are_found_by_the_check() {
    let broken = [
        ("UPDATE rollouts SET queue_place = NULL", "not in the queue"),
        ("UPDATE rollouts SET end_time = 1", "has an end and goes on"),
        ("DELETE FROM inputs", "has no input"),
        ("UPDATE rollouts SET attempts = 2", "not counted from 1"),
        ("UPDATE totals SET value = 7", "the sums are"),
        ("UPDATE rollouts SET deadline = 12.5", "its time limit is noted"),
    ];
    for (sql, problem) in broken {
        let folder = Scratch::fast();
        let path = filled(&folder, 1).await;
        super::sound(&path);
        let connection = rusqlite::Connection::open(&path).unwrap();
        connection.execute(sql, []).unwrap();
        drop(connection);
        let found = sqlite::check(&path).unwrap().join("\n");
        assert!(found.contains(problem), "{sql}: {found}");
    }
}

#[tokio::test]
async fn a_log_that_was_cut_short_gives_what_was_whole_before() {
    let folder = Scratch::fast();
    let path = folder.path("store.db");
    let store = SqliteStore::open(&path).unwrap();
    let mut lengths = Vec::new();
    for _ in 0..20 {
        enqueue(&store).await.unwrap();
        lengths.push(std::fs::metadata(folder.path("store.db-wal")).unwrap().len());
    }
    // As a power cut leaves the files: the store is not closed before they are copied.
    let database = std::fs::read(&path).unwrap();
    let log = std::fs::read(folder.path("store.db-wal")).unwrap();
    drop(store);
    let copy = folder.path("copy.db");
    for cut in (0..log.len()).step_by(log.len() / 50) {
        std::fs::write(&copy, &database).unwrap();
        std::fs::write(folder.path("copy.db-wal"), &log[..cut]).unwrap();
        let whole = lengths.iter().filter(|length| **length <= cut as u64).count();
        assert_eq!(read_all(&copy).await, Ok(whole), "the log was cut to {cut} bytes");
        super::sound(&copy);
    }
}
