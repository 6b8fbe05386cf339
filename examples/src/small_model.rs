//! The small model that the examples train: what it is before, and how agents get to it.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, ensure};
use lightning_core::{
    algorithm::ModelHost,
    llm_proxy::{ProxyBackend, ProxyModel, ReverseProxy},
    lm::{
        ByteTokenizer, Checkpoint, Engine, EngineOptions, ModelConfig, Sample, Served, TrainOptions, Training,
    },
    model_server::ModelServer,
    train_process::digest_of_weights,
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A model that was made once, before all runs, and never since: `examples/data/NAME`, whose weights have to have this digest.
#[derive(Clone, Copy, Debug)]
pub struct WarmStart {
    /// The name of its folder.
    pub name: &'static str,
    /// The SHA-256 of its weights.
    pub sha256: &'static str,
}

impl WarmStart {
    /// Its folder.
    ///
    /// Errors if the weights are not those that they should be.
    pub fn folder(&self) -> anyhow::Result<PathBuf> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(self.name);
        let digest = digest_of_weights(&folder)?;
        ensure!(
            digest == self.sha256,
            "the weights in {} are not the frozen ones: their SHA-256 is {digest}, and should be {}; get them back by \
             `git checkout`",
            folder.display(),
            self.sha256
        );
        Ok(folder)
    }
}

/// A conversation whose turns of the model are learnt: who speaks, and what.
pub type Demonstration = Vec<(u32, String)>;

/// Makes a small model that has seen a few demonstrations, and writes it to a folder. Its numbers have 16 bits there.
///
/// The same machine makes the same model again; another one may round otherwise.
pub fn warm_up(
    demonstrations: &[Demonstration],
    config: ModelConfig,
    options: &TrainOptions,
    folder: &Path,
) -> anyhow::Result<String> {
    let samples: Vec<Sample> = demonstrations.iter().map(|turns| sample(turns)).collect();
    let mut training = Training::from_scratch(config, options.seed)?;
    training.run(&samples, options, |_| true)?;
    Checkpoint::of_bytes(training.model()?).save(folder)?;
    halve(&folder.join("model.safetensors"))?;
    Ok(digest_of_weights(folder)?)
}

fn sample(turns: &[(u32, String)]) -> Sample {
    let mut sample = Sample::default();
    for (speaker, text) in turns {
        let weight = if *speaker == ByteTokenizer::ASSISTANT {
            1.0
        } else {
            0.0
        };
        sample.tokens.push(*speaker);
        sample.weights.push(0.0);
        sample.tokens.extend(ByteTokenizer.encode(text));
        sample.tokens.push(ByteTokenizer::END);
        sample.weights.resize(sample.tokens.len(), weight);
    }
    sample
}

/// Rewrites a file of weights with the upper half of each number: `F32` becomes `BF16`.
fn halve(path: &Path) -> anyhow::Result<()> {
    let bytes = fs::read(path)?;
    let (length, rest) = bytes.split_first_chunk::<8>().context("no safetensors")?;
    let (header, numbers) = rest.split_at(usize::try_from(u64::from_le_bytes(*length))?);
    let mut header: Value = serde_json::from_slice(header)?;
    for tensor in header.as_object_mut().context("no safetensors")?.values_mut() {
        if tensor["dtype"] == "F32" {
            tensor["dtype"] = json!("BF16");
            for offset in tensor["data_offsets"].as_array_mut().context("no offsets")? {
                *offset = json!(offset.as_u64().context("no offset")? / 2);
            }
        }
    }
    let mut header = serde_json::to_vec(&header)?;
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut halved = (header.len() as u64).to_le_bytes().to_vec();
    halved.extend(header);
    let (words, _) = numbers.as_chunks::<4>();
    for word in words {
        let bits = u32::from_le_bytes(*word);
        // To the nearest, and to the even one of two.
        let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
        halved.extend((rounded as u16).to_le_bytes());
    }
    Ok(fs::write(path, halved)?)
}

/// A model that is served on this machine, and the proxy that agents reach it by.
#[derive(Debug)]
pub struct ServedModel {
    engine: Arc<Engine>,
    url: String,
    stop: CancellationToken,
    serving: Option<JoinHandle<()>>,
}

impl ServedModel {
    /// Serves the model in this folder.
    pub async fn start(folder: &Path) -> anyhow::Result<Self> {
        let served = Served::new(Checkpoint::load(folder)?, "0");
        let engine = Arc::new(Engine::start(served, EngineOptions::default())?);
        let server = ModelServer::bind("127.0.0.1:0", Arc::clone(&engine), "small").await?;
        let (url, stop) = (server.url(), CancellationToken::new());
        let serving = tokio::spawn(server.serve(stop.clone()));
        Ok(Self {
            engine,
            url,
            stop,
            serving: Some(serving),
        })
    }

    /// A proxy before it, which records calls with their tokens.
    pub fn proxy(&self) -> anyhow::Result<ReverseProxy> {
        let backend = ProxyBackend::new(&self.url).with_token_ids();
        let model = ProxyModel::new("small", &self.url).backends([backend]);
        Ok(ReverseProxy::builder().model(model).build()?)
    }

    /// What changes its weights.
    pub fn host(&self) -> ModelHost {
        ModelHost::new(Arc::clone(&self.engine))
    }

    /// Ends the server.
    pub async fn stop(mut self) {
        self.stop.cancel();
        if let Some(serving) = self.serving.take() {
            // It only fails if it panicked, which has been told.
            let _ = serving.await;
        }
    }
}

impl Drop for ServedModel {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(serving) = &self.serving {
            serving.abort();
        }
    }
}
