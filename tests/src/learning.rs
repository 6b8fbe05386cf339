//! A very small run of `sft`, for the suite `learning` and the program that it kills.

use std::{path::Path, sync::Arc};

use lightning_core::{
    algorithm::{FineTuned, ModelHost, Sft},
    chat::{ChatModel as _, ChatRequest, Message},
    llm_proxy::{ProxyBackend, ProxyModel, ReverseProxy},
    lm::{ByteTokenizer, Checkpoint, Engine, EngineOptions, ModelConfig, Served, Training},
    model_server::ModelServer,
    prelude::*,
    trainer::TrainerBuilder,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Writes a model that knows nothing: each of its tokens is about as likely as any other.
///
/// # Panics
///
/// If the disk does not take it.
pub fn ignorant_model(folder: &Path) {
    let config = ModelConfig::small(ByteTokenizer::VOCABULARY, 16, 1, 2).context(16);
    let training = Training::from_scratch(config, 5).expect("a model");
    let model = training.model().expect("its weights");
    Checkpoint::of_bytes(model).save(folder).expect("a folder");
}

/// Has the model say one token. It is rewarded if that is a character of ASCII, as about every other token is.
///
/// # Errors
///
/// Those of the model.
#[rollout]
pub async fn say_ascii(task: &String, llm: Llm) -> anyhow::Result<f64> {
    let request = ChatRequest::new([Message::user(task)]).field("max_tokens", 1);
    let answer = llm.chat()?.ask(&request).await?;
    let is_right = !answer.text.is_empty() && answer.text.is_ascii();
    Ok(f64::from(u8::from(is_right)))
}

/// The tasks: a few letters each.
pub fn letters(from: u8, count: u8) -> Dataset<String> {
    (from..from + count)
        .map(|letter| char::from(letter).to_string())
        .collect()
}

/// The algorithm on that model, small.
pub fn tiny(model: &Path) -> Sft<String> {
    Sft::algorithm(model.to_owned())
        .iterations(3)
        .tasks_per_iteration(6)
        .samples_per_task(4)
        .val_samples(2)
        .test_samples(4)
        .epochs(40)
        .learning_rate(0.01)
}

/// A model that is served, and a proxy before it.
#[derive(Debug)]
pub struct World {
    /// What answers.
    pub engine: Arc<Engine>,
    /// What agents call.
    pub proxy: ReverseProxy,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

impl World {
    /// Serves the model in this folder.
    ///
    /// # Panics
    ///
    /// If it cannot be served.
    pub async fn start(model: &Path) -> Self {
        let served = Served::new(Checkpoint::load(model).expect("a model"), "none yet");
        let engine = Arc::new(Engine::start(served, EngineOptions::default()).expect("an engine"));
        let server = ModelServer::bind("127.0.0.1:0", Arc::clone(&engine), "tiny").await;
        let server = server.expect("a free port");
        let backend = ProxyBackend::new(server.url()).with_token_ids();
        let model = ProxyModel::new("tiny", server.url()).backends([backend]);
        let stop = CancellationToken::new();
        Self {
            engine,
            proxy: ReverseProxy::builder().model(model).build().expect("a proxy"),
            serving: tokio::spawn(server.serve(stop.clone())),
            stop,
        }
    }

    /// Ends the server.
    ///
    /// # Panics
    ///
    /// If it has panicked.
    pub async fn stop(self) {
        self.stop.cancel();
        self.serving.await.expect("the server");
    }

    /// A trainer with all that the algorithm needs but for a program that trains.
    pub fn trainer(
        &self,
        algorithm: Sft<String>,
    ) -> TrainerBuilder<lightning_core::trainer::With<String, FineTuned>> {
        Trainer::builder()
            .quiet()
            .algorithm(algorithm)
            .extension(ModelHost::new(Arc::clone(&self.engine)))
            .llm_proxy(self.proxy.clone())
            .n_runners(4)
            .seed(3)
    }
}
