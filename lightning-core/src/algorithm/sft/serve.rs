//! Serving what was trained.

use std::{fmt, ops::Deref, path::Path, pin::Pin, sync::Arc};

use crate::{
    inject::Injectable,
    lm::{Checkpoint, Engine, Served},
};

/// Serves a model whose weights change.
///
/// [`Engine`] is one, for small models in this process. For a large one, an implementation starts its server anew, or tells it
/// to load other weights.
pub trait ServeCheckpoint: Send + Sync + 'static {
    /// Serves the model in this folder from now on; when this returns, new calls get it. Called again with the same folder and
    /// version when a run is resumed.
    fn serve<'a>(
        &'a self,
        folder: &'a Path,
        version: &'a str,
    ) -> Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send + 'a>>;
}

impl ServeCheckpoint for Engine {
    fn serve<'a>(
        &'a self,
        folder: &'a Path,
        version: &'a str,
    ) -> Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send + 'a>> {
        Box::pin(async move {
            let folder = folder.to_owned();
            let checkpoint = tokio::task::spawn_blocking(move || Checkpoint::load(folder)).await??;
            self.swap(Served::new(checkpoint, version));
            Ok(())
        })
    }
}

/// What serves the model that learns, as it is handed to the trainer: `Trainer::builder().extension(ModelHost::new(engine))`.
#[derive(Clone)]
pub struct ModelHost(Arc<dyn ServeCheckpoint>);

impl ModelHost {
    /// A handle on what serves.
    pub fn new(host: Arc<impl ServeCheckpoint>) -> Self {
        Self(host)
    }
}

impl Deref for ModelHost {
    type Target = dyn ServeCheckpoint;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl fmt::Debug for ModelHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelHost").finish_non_exhaustive()
    }
}

impl Injectable for ModelHost {}
