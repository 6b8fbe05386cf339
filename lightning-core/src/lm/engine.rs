//! Many requests at once: they join and leave between the steps of one thread that owns the arithmetic.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel},
    },
    thread::JoinHandle,
};

use rand::{SeedableRng as _, rngs::StdRng};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_util::sync::CancellationToken;

use super::{
    ChatTemplate, Checkpoint, Extension, LanguageModel, LmError, Sequence, TextStream, Tokenizer,
    sampling::{Sampling, log_probabilities, top},
};

/// Why a request was not carried out.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The thread could not be started.
    #[error("cannot start the thread of the model: {0}")]
    Thread(String),

    /// As many requests wait as may wait.
    #[error("{waiting} requests wait already; try again later")]
    Busy {
        /// How many may wait.
        waiting: usize,
    },

    /// The prompt is empty, or leaves no room for an answer.
    #[error(
        "the prompt has {tokens} tokens; it needs at least 1 and fewer than the model's context of {context}"
    )]
    Prompt {
        /// How many tokens it has.
        tokens: usize,
        /// How many a sequence may have.
        context: usize,
    },

    /// The model failed.
    #[error("the model failed: {0}")]
    Model(Arc<LmError>),

    /// The engine has stopped.
    #[error("the engine has stopped")]
    Stopped,
}

/// How much is done at once.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct EngineOptions {
    /// How many requests are answered at the same time.
    pub batch: usize,
    /// How many more may wait; others are refused.
    pub queue: usize,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            batch: 32,
            queue: 1024,
        }
    }
}

/// A model that is served, and under which version.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Served {
    /// The model.
    pub model: Arc<dyn LanguageModel>,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    /// How conversations become prompts.
    pub template: ChatTemplate,
    /// The tokens that end an answer.
    pub ends: Vec<u32>,
    /// What tells these weights from others.
    pub version: String,
}

impl Served {
    /// A checkpoint under a version.
    pub fn new(checkpoint: Checkpoint, version: impl Into<String>) -> Self {
        Self {
            ends: checkpoint.model.config().eos_token_ids.clone(),
            model: Arc::new(checkpoint.model),
            tokenizer: checkpoint.tokenizer,
            template: checkpoint.template,
            version: version.into(),
        }
    }

    /// The same with another model, such as one that a test has written.
    #[must_use]
    pub fn with_model(mut self, model: Arc<dyn LanguageModel>) -> Self {
        self.model = model;
        self
    }
}

/// What is asked of a model.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct GenerateRequest {
    /// The prompt.
    pub prompt: Vec<u32>,
    /// How many tokens the answer may have; what is left of the context, if `None`.
    pub max_tokens: Option<usize>,
    /// 0 takes the likeliest token each time; 1 samples as the model says.
    pub temperature: f64,
    /// Only the likeliest tokens that together have this probability are chosen from.
    pub top_p: f64,
    /// Decides the choices: the same model, prompt and seed give the same answer, whoever else asks meanwhile.
    pub seed: u64,
    /// Texts before which the answer ends.
    pub stop: Vec<String>,
    /// For how many of the likeliest tokens the log-probability is told at each place.
    pub top_logprobs: usize,
    /// Goes on after tokens that end an answer.
    pub ignore_end: bool,
}

impl GenerateRequest {
    /// A request with temperature 1 and seed 0.
    pub fn new(prompt: Vec<u32>) -> Self {
        Self {
            prompt,
            max_tokens: None,
            temperature: 1.0,
            top_p: 1.0,
            seed: 0,
            stop: Vec::new(),
            top_logprobs: 0,
            ignore_end: false,
        }
    }
}

/// A token of an answer.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct GeneratedToken {
    /// The token.
    pub token: u32,
    /// The natural logarithm of its probability at temperature 1.
    pub logprob: f64,
    /// The same for the likeliest tokens, as many as were asked for.
    pub top: Vec<(u32, f64)>,
    /// The text that is certain from here on; often empty, where a character or the beginning of a stop text is not
    /// complete.
    pub text: String,
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finish {
    /// The model ended it, or a stop text came.
    Stop,
    /// There was no more room.
    Length,
}

/// What happens to a request.
#[derive(Clone, Debug)]
pub enum Event {
    /// The next token.
    Token(GeneratedToken),
    /// The end, with the text that was held back.
    End(Finish, String),
    /// The model failed.
    Failed(EngineError),
}

/// A whole answer.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Completion {
    /// Its text, without what ended it.
    pub text: String,
    /// Its tokens, with the one that ended it.
    pub tokens: Vec<GeneratedToken>,
    /// Why it ended.
    pub finish: Finish,
    /// Which version of the model wrote it.
    pub version: String,
}

/// An answer that is being written. Dropped, the model stops writing it.
#[derive(Debug)]
pub struct Generation {
    version: String,
    events: UnboundedReceiver<Event>,
}

impl Generation {
    /// Which version of the model writes it.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// What happens next; `None` after the end, or if the engine has stopped. Cancel safe.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// The whole answer.
    ///
    /// # Errors
    ///
    /// [`EngineError::Model`], [`EngineError::Stopped`].
    pub async fn complete(mut self) -> Result<Completion, EngineError> {
        let (mut text, mut tokens) = (String::new(), Vec::new());
        loop {
            match self.next().await {
                Some(Event::Token(token)) => {
                    text.push_str(&token.text);
                    tokens.push(token);
                }
                Some(Event::End(finish, rest)) => {
                    text.push_str(&rest);
                    let version = self.version;
                    return Ok(Completion {
                        text,
                        tokens,
                        finish,
                        version,
                    });
                }
                Some(Event::Failed(error)) => return Err(error),
                None => return Err(EngineError::Stopped),
            }
        }
    }
}

/// Runs a model on a thread of its own. Dropped, it stops after the step that is under way.
#[derive(Debug)]
pub struct Engine {
    jobs: Option<SyncSender<Job>>,
    served: Mutex<Arc<Served>>,
    options: EngineOptions,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Engine {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// [`EngineError::Thread`].
    pub fn start(served: Served, options: EngineOptions) -> Result<Self, EngineError> {
        let (jobs, queue) = sync_channel(options.queue.max(1));
        let stop = CancellationToken::new();
        let worker = Worker {
            queue,
            batch: options.batch.max(1),
            stop: stop.clone(),
            running: Vec::new(),
        };
        let thread = std::thread::Builder::new().name("lightning-lm".to_owned());
        let thread = thread
            .spawn(|| worker.run())
            .map_err(|error| EngineError::Thread(error.to_string()))?;
        Ok(Self {
            jobs: Some(jobs),
            served: Mutex::new(Arc::new(served)),
            options,
            stop,
            thread: Some(thread),
        })
    }

    /// What answers requests from now on.
    pub fn served(&self) -> Arc<Served> {
        Arc::clone(&self.served.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the model. Requests under way, and those that wait, are answered by the one they were handed to.
    pub fn swap(&self, served: Served) {
        *self.served.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(served);
    }

    /// Hands a request to a model, usually [`served`](Self::served), which has made its prompt.
    ///
    /// # Errors
    ///
    /// [`EngineError::Busy`], [`EngineError::Prompt`], [`EngineError::Stopped`].
    pub fn submit(
        &self,
        served: &Arc<Served>,
        mut request: GenerateRequest,
    ) -> Result<Generation, EngineError> {
        // An empty text is found everywhere.
        request.stop.retain(|stop| !stop.is_empty());
        let (tokens, context) = (request.prompt.len(), served.model.context());
        if tokens == 0 || tokens >= context {
            return Err(EngineError::Prompt { tokens, context });
        }
        let room = context - tokens;
        let (sender, events) = unbounded_channel();
        let job = Job {
            left: request.max_tokens.unwrap_or(room).min(room),
            rng: generator(&request),
            sampling: Sampling {
                temperature: request.temperature,
                top_p: request.top_p,
            },
            next: request.prompt.clone(),
            sequence: Sequence::new(),
            stream: TextStream::default(),
            held: String::new(),
            served: Arc::clone(served),
            events: sender,
            request,
        };
        let jobs = self.jobs.as_ref().ok_or(EngineError::Stopped)?;
        jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => EngineError::Busy {
                waiting: self.options.queue.max(1),
            },
            TrySendError::Disconnected(_) => EngineError::Stopped,
        })?;
        Ok(Generation {
            version: served.version.clone(),
            events,
        })
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop.cancel();
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been told already.
            let _ = thread.join();
        }
    }
}

/// The random numbers of a request. The prompt has its part in them: requests for many prompts often have one seed, and
/// should not all have the same luck.
fn generator(request: &GenerateRequest) -> StdRng {
    let mixed = request.prompt.iter().fold(request.seed, |mixed, token| {
        (mixed ^ u64::from(*token))
            .wrapping_mul(0x0100_0000_01b3)
            .rotate_left(23)
    });
    StdRng::seed_from_u64(mixed)
}

/// A request under way.
#[derive(Debug)]
struct Job {
    request: GenerateRequest,
    sampling: Sampling,
    served: Arc<Served>,
    events: UnboundedSender<Event>,
    rng: StdRng,
    sequence: Sequence,
    /// The tokens that the model has not seen yet.
    next: Vec<u32>,
    /// How many tokens the answer may still have.
    left: usize,
    stream: TextStream,
    /// Text that might be the beginning of a stop text.
    held: String,
}

struct Worker {
    queue: Receiver<Job>,
    batch: usize,
    stop: CancellationToken,
    running: Vec<Job>,
}

impl Worker {
    fn run(mut self) {
        while self.admit() && !self.stop.is_cancelled() {
            self.running.retain(|job| !job.events.is_closed());
            // Jobs of one model are done together; after a swap there may be several for a while.
            self.running.sort_by_key(|job| Arc::as_ptr(&job.served) as usize);
            for jobs in self
                .running
                .chunk_by_mut(|a, b| Arc::ptr_eq(&a.served, &b.served))
            {
                step(jobs);
            }
            self.running.retain(|job| !job.next.is_empty());
        }
    }

    /// Takes in what waits; while nothing is under way, waits for it. `false` when nothing will come any more.
    fn admit(&mut self) -> bool {
        if self.running.is_empty() {
            match self.queue.recv() {
                Ok(job) => self.running.push(job),
                Err(_) => return false,
            }
        }
        while self.running.len() < self.batch {
            match self.queue.try_recv() {
                Ok(job) => self.running.push(job),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
        }
        true
    }
}

/// One token more for each job. Those that are done have nothing next.
fn step(jobs: &mut [Job]) {
    let Some(served) = jobs.first().map(|job| Arc::clone(&job.served)) else {
        return;
    };
    let mut work: Vec<Extension<'_>> = jobs
        .iter_mut()
        .map(|job| Extension {
            sequence: &mut job.sequence,
            tokens: &job.next,
        })
        .collect();
    match served.model.extend(&mut work) {
        Ok(logits) => {
            for (job, logits) in jobs.iter_mut().zip(logits) {
                let event = job.advance(&logits);
                if let Err(error) = event {
                    job.fail(EngineError::Model(Arc::new(error)));
                }
            }
        }
        Err(error) => {
            let error = EngineError::Model(Arc::new(error));
            for job in jobs {
                job.fail(error.clone());
            }
        }
    }
}

impl Job {
    /// Whoever asked may be gone, which the next step notices; so what cannot be sent is dropped.
    fn send(&self, event: Event) {
        let _ = self.events.send(event);
    }

    fn fail(&mut self, error: EngineError) {
        self.next.clear();
        self.send(Event::Failed(error));
    }

    fn advance(&mut self, logits: &[f32]) -> Result<(), LmError> {
        self.next.clear();
        if self.left == 0 {
            self.send(Event::End(Finish::Length, String::new()));
            return Ok(());
        }
        self.left -= 1;
        let logs = log_probabilities(logits);
        let chosen = self.sampling.choose(logits, &mut self.rng);
        let token = chosen as u32;
        let ends = self.served.ends.contains(&token) && !self.request.ignore_end;
        let tokenizer = &self.served.tokenizer;
        let mut text = std::mem::take(&mut self.held);
        if !ends {
            text.push_str(&self.stream.push(tokenizer, token)?);
        }
        let mut finish = ends.then_some(Finish::Stop);
        if finish.is_none() && self.left == 0 {
            finish = Some(Finish::Length);
        }
        if finish.is_some() {
            text.push_str(&self.stream.finish(tokenizer)?);
        }
        let stopped = self
            .request
            .stop
            .iter()
            .filter_map(|stop| text.find(stop.as_str()))
            .min();
        if let Some(at) = stopped {
            text.truncate(at);
            finish = Some(Finish::Stop);
        } else if finish.is_none() {
            self.held = text.split_off(certain(&text, &self.request.stop));
        }
        self.send(Event::Token(GeneratedToken {
            token,
            logprob: logs.get(chosen).copied().unwrap_or(f64::NEG_INFINITY),
            top: top(&logs, self.request.top_logprobs),
            text,
        }));
        match finish {
            Some(finish) => self.send(Event::End(finish, String::new())),
            None => self.next.push(token),
        }
        Ok(())
    }
}

/// Up to where no stop text can have begun.
fn certain(text: &str, stops: &[String]) -> usize {
    let begins = |at: usize| stops.iter().any(|stop| stop.starts_with(&text[at..]));
    let longest = stops.iter().map(String::len).max().unwrap_or(0);
    let from = text.floor_char_boundary(text.len().saturating_sub(longest));
    (from..text.len())
        .find(|at| text.is_char_boundary(*at) && begins(*at))
        .unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_begin_a_stop_text_is_held_back() {
        let stops = ["END".to_owned(), "né".to_owned()];
        for (text, expected) in [
            ("abE", 2),
            ("abEN", 2),
            ("abEx", 4),
            ("EN E", 3),
            ("an", 1),
            ("é", 2),
            ("", 0),
        ] {
            assert_eq!(certain(text, &stops), expected, "{text}");
        }
        assert_eq!(certain("abc", &[]), 3);
    }
}
