//! Stores by URL, as run files and command lines name them.

use std::sync::Arc;

use super::{MemoryStore, Store, StoreError};

/// Opens the store that `url` names: `memory:` is a fresh store in memory, `sqlite:PATH` the durable store in that file,
/// which is made if there is none. May block for as long as the file is looked through.
///
/// ```
/// use lightning_core::store::open_url;
///
/// # fn main() -> Result<(), lightning_core::store::StoreError> {
/// let store = open_url("memory:")?;
/// assert!(!store.capabilities().durable);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// [`StoreError::Invalid`], if the URL is not of this form or needs a feature that is not compiled in; those of
/// `SqliteStore::open`.
pub fn open_url(url: &str) -> Result<Arc<dyn Store>, StoreError> {
    let invalid = |problem: String| StoreError::invalid("store_url", format!("`{url}` {problem}"));
    match url.split_once(':') {
        Some(("memory", "")) => Ok(Arc::new(MemoryStore::new())),
        Some(("memory", _)) => Err(invalid(
            "has something after `memory:`; write `memory:`".to_owned(),
        )),
        Some(("sqlite", rest)) => open_sqlite(rest, invalid),
        Some(("http" | "https", _)) => Err(invalid(
            "is a store behind a server; use `client::StoreClient` for it".to_owned(),
        )),
        _ => Err(invalid(
            "names no kind of store; write `memory:` or `sqlite:PATH`".to_owned(),
        )),
    }
}

/// `sqlite:PATH`, and `sqlite://PATH` as others write it.
#[cfg(feature = "sqlite")]
fn open_sqlite(rest: &str, invalid: impl Fn(String) -> StoreError) -> Result<Arc<dyn Store>, StoreError> {
    let path = rest.strip_prefix("//").unwrap_or(rest);
    if path.is_empty() || path == ":memory:" {
        return Err(invalid(
            "names no file; write `sqlite:PATH`, or `memory:` for a store in memory".to_owned(),
        ));
    }
    Ok(Arc::new(super::SqliteStore::open(path)?))
}

#[cfg(not(feature = "sqlite"))]
fn open_sqlite(_: &str, invalid: impl Fn(String) -> StoreError) -> Result<Arc<dyn Store>, StoreError> {
    Err(invalid(
        "needs the feature `sqlite` of lightning-core, which is not compiled in; enable it in Cargo.toml"
            .to_owned(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(url: &str) -> String {
        match open_url(url) {
            Ok(_) => panic!("`{url}` should be refused"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn what_names_no_store_is_refused_with_what_would_be_right() {
        for (url, part) in [
            ("", "`memory:` or `sqlite:PATH`"),
            ("run.db", "`memory:` or `sqlite:PATH`"),
            ("postgresql://host/db", "`memory:` or `sqlite:PATH`"),
            ("memory:run", "write `memory:`"),
            ("http://127.0.0.1:4747", "StoreClient"),
            ("sqlite:", "sqlite"),
        ] {
            let problem = problem(url);
            assert!(problem.contains(part), "{url}: {problem}");
            assert!(problem.contains("invalid `store_url`"), "{problem}");
        }
    }
}
