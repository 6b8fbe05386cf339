//! The conformance suite against every backend, one test for each case.

#[cfg(feature = "full")]
use std::sync::Arc;
use std::{collections::HashSet, process::ExitCode};

use libtest_mimic::{Arguments, Failed, Trial};
#[cfg(feature = "full")]
use lightning_core::store::Store;
use lightning_core::{
    store::MemoryStore,
    testing::{
        ManualClock,
        conformance::{self, Case, Fixture},
    },
};
use lightning_tests::scratch::Scratch;

/// Makes a fresh, empty store; its files, if it has any, in the given folder.
type Backend = fn(&Scratch) -> Fixture;

fn memory(_: &Scratch) -> Fixture {
    let clock = ManualClock::default();
    Fixture::new(MemoryStore::builder().clock(clock.clone()).build(), clock)
}

#[cfg(feature = "sqlite")]
fn open(folder: &Scratch, clock: &ManualClock) -> lightning_core::store::SqliteStore {
    use lightning_core::store::SqliteStore;

    let path = folder.path("store.db");
    SqliteStore::builder(path).clock(clock.clone()).open().unwrap()
}

#[cfg(feature = "sqlite")]
fn sqlite(folder: &Scratch) -> Fixture {
    let clock = ManualClock::default();
    Fixture::new(open(folder, &clock), clock)
}

/// Memory behind a server.
#[cfg(feature = "full")]
fn http(_: &Scratch) -> Fixture {
    let clock = ManualClock::default();
    let store = MemoryStore::builder().clock(clock.clone()).build();
    behind_a_server(Arc::new(store), clock)
}

/// The durable store behind a server.
#[cfg(feature = "full")]
fn http_sqlite(folder: &Scratch) -> Fixture {
    let clock = ManualClock::default();
    behind_a_server(Arc::new(open(folder, &clock)), clock)
}

/// A store as its client sees it. Both take their time from the fixture's clock.
#[cfg(feature = "full")]
fn behind_a_server(store: Arc<dyn Store>, clock: ManualClock) -> Fixture {
    use lightning_core::{client::StoreClient, server};

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let server = server::StoreServer::on(listener, store, server::ServerOptions::default()).unwrap();
    let client = StoreClient::builder(server.url())
        .clock(clock.clone())
        .build()
        .unwrap();
    tokio::spawn(server.serve(tokio_util::sync::CancellationToken::new()));
    Fixture::new(client, clock)
}

fn main() -> ExitCode {
    let backends: &[(&str, Backend)] = &[
        ("memory", memory),
        #[cfg(feature = "sqlite")]
        ("sqlite", sqlite),
        #[cfg(feature = "full")]
        ("http", http),
        #[cfg(feature = "full")]
        ("http_sqlite", http_sqlite),
    ];
    let mut trials = vec![Trial::test(
        "the_suite::has_at_least_120_cases_of_different_names",
        count_cases,
    )];
    for &(backend, make) in backends {
        trials.extend(conformance::cases().map(|case| {
            let name = format!("{backend}::{}::{}", case.area(), case.name());
            Trial::test(name, move || run(case, make))
        }));
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn run(case: Case, make: Backend) -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let folder = Scratch::fast();
    runtime.block_on(async { case.run(make(&folder)).await });
    Ok(())
}

fn count_cases() -> Result<(), Failed> {
    let names: HashSet<&str> = conformance::cases().map(|case| case.name()).collect();
    let count = conformance::cases().count();
    if names.len() != count || count < 120 {
        return Err(format!("{count} cases with {} names", names.len()).into());
    }
    Ok(())
}
