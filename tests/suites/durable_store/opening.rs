//! Opening, closing, and who else has the file.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use lightning_core::{
    store::{SqliteStore, Store, StoreError, open_url},
    types::NewRollout,
};
use lightning_tests::scratch::Scratch;
use serde_json::json;

use super::{enqueue, filled, refused, soon, sound};

#[tokio::test]
async fn a_closed_store_leaves_one_file_and_nothing_else() {
    let folder = Scratch::fast();
    let store = SqliteStore::open(folder.path("store.db")).unwrap();
    enqueue(&store).await.unwrap();
    let other = store.clone();
    drop(store);
    enqueue(&other).await.unwrap();
    drop(other);
    assert_eq!(folder.names(), ["store.db"]);
    sound(&folder.path("store.db"));
}

#[tokio::test]
async fn closing_waits_for_what_was_sent() {
    let folder = Scratch::fast();
    let store = SqliteStore::open(folder.path("store.db")).unwrap();
    for _ in 0..100 {
        // Sent, and given up before the answer, unless the writer was very quick.
        let mut sent = store.enqueue_rollout(NewRollout::new(json!("task")));
        let _ = futures::poll!(&mut sent);
    }
    drop(store);
    let store = SqliteStore::open(folder.path("store.db")).unwrap();
    assert_eq!(super::total(&store).await, 100);
}

#[tokio::test]
async fn a_file_that_is_open_is_not_opened_again_in_the_same_process() {
    let folder = Scratch::fast();
    let path = folder.path("store.db");
    let store = SqliteStore::open(&path).unwrap();
    let error = refused(&path);
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    let process = format!("in use by process {}", std::process::id());
    assert!(error.to_string().contains(&process), "{error}");
    // The attempt has not loosened what keeps others out.
    let again = refused(&path);
    assert!(again.to_string().contains(&process), "{again}");
    enqueue(&store).await.unwrap();
    drop(store);
    SqliteStore::open(&path).unwrap();
}

#[test]
fn a_second_process_is_told_which_the_first_one_is_and_gets_the_file_when_that_was_killed() {
    let folder = Scratch::fast();
    let path = folder.path("store.db");
    let mut first = Command::new(env!("CARGO_BIN_EXE_durable_writer"))
        .arg(&path)
        .arg("1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(first.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    let reader = std::thread::spawn(move || output.lines().map_while(Result::ok).count());
    let error = refused(&path);
    first.kill().unwrap();
    first.wait().unwrap();
    reader.join().unwrap();
    let holder = format!("in use by process {} (durable_writer)", first.id());
    assert!(error.to_string().contains(&holder), "{error}");
    drop(SqliteStore::open(&path).unwrap());
    assert_eq!(folder.names(), ["store.db"]);
}

#[tokio::test]
async fn a_store_is_opened_by_its_url() {
    let folder = Scratch::fast();
    let path = folder.path("run.db");
    let store = open_url(&format!("sqlite:{}", path.display())).unwrap();
    assert!(store.capabilities().durable);
    store
        .enqueue_rollout(NewRollout::new(json!("task")))
        .await
        .unwrap();
    drop(store);
    let store = open_url(&format!("sqlite://{}", path.display())).unwrap();
    assert!(soon(store.dequeue_rollout(None)).await.unwrap().is_some());
    for url in ["sqlite:", "sqlite::memory:"] {
        let error = open_url(url).err().expect("names no file");
        assert!(error.to_string().contains("`sqlite:PATH`"), "{error}");
    }
}

#[tokio::test]
async fn what_is_no_place_for_a_store_is_refused_with_the_reason() {
    let folder = Scratch::fast();
    let error = refused(&folder.path("nowhere/store.db"));
    assert!(error.to_string().contains("make this folder first"), "{error}");
    let error = refused(&folder.path(""));
    assert!(error.to_string().contains("is not a file"), "{error}");

    let path = filled(&folder, 1).await;
    let mut permissions = std::fs::metadata(&path).unwrap().permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(&path, permissions).unwrap();
    let error = refused(&path);
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    assert!(error.to_string().contains("is read-only"), "{error}");
}

#[cfg(unix)]
#[tokio::test]
async fn the_file_is_readable_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = Scratch::fast();
    let store = SqliteStore::open(folder.path("store.db")).unwrap();
    enqueue(&store).await.unwrap();
    for name in folder.names() {
        let mode = std::fs::metadata(folder.path(&name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o077, 0, "{name} has mode {mode:o}");
    }
}

#[tokio::test]
async fn the_database_of_another_program_and_of_a_newer_version_are_refused_and_not_touched() {
    let folder = Scratch::fast();
    let foreign = folder.path("foreign.db");
    let connection = rusqlite::Connection::open(&foreign).unwrap();
    connection.execute_batch("CREATE TABLE rollouts (mine)").unwrap();
    drop(connection);
    let before = std::fs::read(&foreign).unwrap();
    let error = refused(&foreign);
    assert!(error.to_string().contains("another program"), "{error}");
    assert_eq!(std::fs::read(&foreign).unwrap(), before);

    let newer = filled(&folder, 1).await;
    let connection = rusqlite::Connection::open(&newer).unwrap();
    connection
        .execute_batch("INSERT INTO migrations VALUES (99, 0)")
        .unwrap();
    drop(connection);
    let error = refused(&newer);
    assert!(error.to_string().contains("newer version"), "{error}");
    assert!(error.to_string().contains("99"), "{error}");
}

#[tokio::test]
async fn a_store_that_was_being_made_when_the_process_died_is_made_anew() {
    let folder = Scratch::fast();
    let path = folder.path("store.db");
    std::fs::write(folder.path("store.db-new"), "half of it").unwrap();
    std::fs::write(folder.path("store.db-new-journal"), "how to undo it").unwrap();
    let store = SqliteStore::open(&path).unwrap();
    enqueue(&store).await.unwrap();
    drop(store);
    assert_eq!(folder.names(), ["store.db"]);
}
