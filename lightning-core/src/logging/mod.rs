//! Logs: what a program that uses Lightning says about itself.
//!
//! A program calls [`init`] once, at its beginning; the library itself never installs anything. From then on
//!
//! - events of `tracing` are written to standard error, as text or as JSON, above the bars of a
//!   [`TerminalProgress`](crate::terminal::TerminalProgress);
//! - `tracing` spans that an agent makes during a rollout are recorded, as with [`tracer::layer`].
//!
//! The two are apart: what is recorded is training data and does not depend on the levels of the logs; spans never appear
//! in the logs, so that neither their number nor what is in them gets there. A line that is logged during a rollout names
//! its rollout and its attempt.
//!
//! | variable | what it says | if not set |
//! |---|---|---|
//! | `LIGHTNING_LOG` | the levels: `info`, or by target, `warn,lightning::runner=debug,my_agent=info` | `warn,lightning=info` |
//! | `LIGHTNING_LOG_FORMAT` | `text` or `json` | `text` |
//!
//! A *target* stands for those below it too: `lightning` for `lightning::runner`, but not for `lightning_agents`. The
//! longest one that fits counts. The library logs under these:
//!
//! | target | what is logged there |
//! |---|---|
//! | `lightning::baseline` | what the algorithm `baseline` sees of each rollout |
//! | `lightning::chat` | calls of a chat model that are made again, or cannot be recorded |
//! | `lightning::client` | requests to a store over HTTP that are made again |
//! | `lightning::config` | a run file that changed while its run goes on |
//! | `lightning::listening` | connections of the servers that break, or cannot be accepted |
//! | `lightning::llm_proxy` | the proxy: calls that break off or are tried again, backends that are left alone |
//! | `lightning::model` | servers of models: weights that are changed, processes that are started and die |
//! | `lightning::program` | agents that are programs of their own and fail |
//! | `lightning::run` | evaluations that are given up, metrics that cannot be written |
//! | `lightning::runner` | attempts that fail, heartbeats, a store that cannot be reached |
//! | `lightning::server` | requests that failed or were refused, tokens; each request at `debug` |
//! | `lightning::store` | what a store does by itself, such as ending attempts that ran into a time limit |
//! | `lightning::testing` | the test kit |
//! | `lightning::tracer` | spans that could not be stored |
//! | `lightning::trainer` | beginning and end of a run, requests to stop |
//!
//! Messages are constant; what differs is in fields such as `rollout_id`, `attempt_id`, `worker_id`. No prompt and no
//! secret is logged.
//!
//! A program that has a subscriber of its own adds [`Logging::layer`] to that, or only [`tracer::layer`].

mod levels;
mod line;
mod panics;

use std::{env, ffi::OsString};

use tracing::{Event, Subscriber};
use tracing_subscriber::{
    Layer, Registry,
    layer::{Context, SubscriberExt as _},
    registry::LookupSpan,
};

pub use self::levels::DirectiveError;
use self::levels::{Levels, Replaceable};
use crate::{
    terminal::Screen,
    tracer::{self, LayerOptions},
};

/// The variable that says which levels are logged.
const LEVELS: &str = "LIGHTNING_LOG";
/// The variable that says how.
const FORMAT: &str = "LIGHTNING_LOG_FORMAT";
pub(crate) const DEFAULT_LEVELS: &str = "warn,lightning=info";

/// Installs logs and the recording of spans, as the environment says; see the [module](self).
///
/// # Errors
///
/// [`LoggingError`], if there is a subscriber already, or a variable cannot be understood.
///
/// ```
/// fn main() -> Result<(), lightning_core::logging::LoggingError> {
///     lightning_core::logging::init()?;
///     tracing::info!(target: "my_program", answer = 42, "logs are on");
///     Ok(())
/// }
/// ```
pub fn init() -> Result<(), LoggingError> {
    Logging::from_env()?.install()
}

/// Why logs could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoggingError {
    /// This was done before.
    #[error("logs are set up already: call `logging::init` once, at the beginning of `main`")]
    Initialised,

    /// The program has a subscriber that is not ours.
    #[error(
        "the program has a tracing subscriber already: add `Logging::from_env()?.layer()` to that one instead of calling \
         `logging::init`, or `tracer::layer()` to record spans without our logs"
    )]
    ForeignSubscriber,

    /// The levels cannot be understood.
    #[error("the variable {LEVELS}: {source}")]
    Levels {
        /// What cannot be understood.
        #[from]
        source: DirectiveError,
    },

    /// The format cannot be understood.
    #[error("the variable {FORMAT}: `{given}` is no format: use `text` or `json`")]
    Format {
        /// What was given.
        given: String,
    },
}

/// How a line is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogFormat {
    /// For people; coloured on a terminal.
    #[default]
    Text,
    /// One JSON object on each line, with `timestamp`, `level`, `target` and `fields`, of which one is `message`.
    Json,
}

/// Logs that are being set up.
///
/// ```
/// use lightning_core::logging::Logging;
/// use tracing_subscriber::layer::SubscriberExt as _;
///
/// // In a program with a subscriber of its own, beside its own layers:
/// let subscriber = tracing_subscriber::registry().with(Logging::new().levels("info")?.layer());
/// # drop(subscriber);
/// # Ok::<_, lightning_core::logging::DirectiveError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Logging {
    levels: Levels,
    handle: LevelsHandle,
    format: LogFormat,
    screen: Option<Screen>,
    recording: Option<LayerOptions>,
}

impl Default for Logging {
    fn default() -> Self {
        Self::new()
    }
}

impl Logging {
    /// Warnings of everybody and information of Lightning, as text, to standard error; spans are recorded. The environment
    /// is not asked.
    pub fn new() -> Self {
        Self {
            levels: Levels::parse(DEFAULT_LEVELS).unwrap_or_default(),
            handle: LevelsHandle::default(),
            format: LogFormat::default(),
            screen: None,
            recording: Some(LayerOptions::default()),
        }
    }

    /// As [`new`](Self::new), but for what the environment says.
    ///
    /// # Errors
    ///
    /// [`LoggingError::Levels`] and [`LoggingError::Format`].
    pub fn from_env() -> Result<Self, LoggingError> {
        Self::from_variables(env::var_os)
    }

    fn from_variables(variable: impl Fn(&'static str) -> Option<OsString>) -> Result<Self, LoggingError> {
        let text = |name| {
            let value = variable(name)?.to_string_lossy().trim().to_owned();
            (!value.is_empty()).then_some(value)
        };
        let mut logging = Self::new();
        if let Some(directives) = text(LEVELS) {
            logging = logging.levels(&directives)?;
        }
        if let Some(format) = text(FORMAT) {
            logging.format = match &*format.to_lowercase() {
                "text" => LogFormat::Text,
                "json" => LogFormat::Json,
                _ => return Err(LoggingError::Format { given: format }),
            };
        }
        Ok(logging)
    }

    /// What is logged: directives with commas between them, each a level (`off`, `error`, `warn`, `info`, `debug`,
    /// `trace`) or `target=level`. What no directive speaks of is not logged.
    ///
    /// # Errors
    ///
    /// [`DirectiveError`] names the directive that cannot be understood.
    pub fn levels(mut self, directives: &str) -> Result<Self, DirectiveError> {
        self.levels = Levels::parse(directives)?;
        Ok(self)
    }

    /// What changes the levels once these logs are in use.
    pub fn handle(&self) -> LevelsHandle {
        self.handle.clone()
    }

    /// How a line is written.
    #[must_use]
    pub fn format(mut self, format: LogFormat) -> Self {
        self.format = format;
        self
    }

    /// Where it is written; to standard error if not set.
    #[must_use]
    pub fn screen(mut self, screen: Screen) -> Self {
        self.screen = Some(screen);
        self
    }

    /// Which spans are recorded.
    #[must_use]
    pub fn recording(mut self, options: LayerOptions) -> Self {
        self.recording = Some(options);
        self
    }

    /// Records no spans of `tracing`, for a program whose subscriber has a [`tracer::layer`] already.
    #[must_use]
    pub fn without_recording(mut self) -> Self {
        self.recording = None;
        self
    }

    /// All of it as a layer, for a program with a subscriber of its own. Its filters are its own: what it leaves out still
    /// reaches the other layers.
    pub fn layer<S>(self) -> impl Layer<S> + Send + Sync
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let logs = LogLayer {
            format: self.format,
            screen: self.screen.unwrap_or_else(Screen::stderr),
        };
        // `Layer::and_then` would be shorter, but on a bare registry it takes the levels of one of the two for those of both.
        self.handle.0.replace(self.levels);
        let mut layers = vec![logs.with_filter(self.handle.0).boxed()];
        layers.extend(self.recording.map(|options| tracer::layer_with(options).boxed()));
        layers
    }

    /// Makes it the program's subscriber. On a terminal, messages of panics appear above the bars from then on.
    ///
    /// # Errors
    ///
    /// [`LoggingError::Initialised`] and [`LoggingError::ForeignSubscriber`].
    pub fn install(self) -> Result<(), LoggingError> {
        let screen = self.screen.clone().unwrap_or_else(Screen::stderr);
        let installed = tracing::subscriber::set_global_default(Registry::default().with(self.layer()));
        if installed.is_ok() {
            panics::report_above_bars(screen);
        }
        installed.map_err(|_| {
            let is_ours = tracing::dispatcher::get_default(|present| present.is::<LogLayer>());
            if is_ours {
                LoggingError::Initialised
            } else {
                LoggingError::ForeignSubscriber
            }
        })
    }
}

/// Changes what is logged while a program runs, see [`Logging::handle`]. A clone changes the same.
///
/// ```
/// use lightning_core::logging::Logging;
///
/// let logging = Logging::from_env()?;
/// let levels = logging.handle();
/// logging.install()?;
/// levels.set("warn,lightning::runner=debug")?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct LevelsHandle(Replaceable);

impl LevelsHandle {
    /// What is logged from now on, in the directives of [`Logging::levels`].
    ///
    /// # Errors
    ///
    /// [`DirectiveError`] names the directive that cannot be understood; nothing changes then.
    pub fn set(&self, directives: &str) -> Result<(), DirectiveError> {
        self.0.replace(Levels::parse(directives)?);
        Ok(())
    }
}

/// Writes events.
#[derive(Debug)]
struct LogLayer {
    format: LogFormat,
    screen: Screen,
}

impl<S: Subscriber> Layer<S> for LogLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.screen.print(&match self.format {
            LogFormat::Text => line::text(event, self.screen.has_colours()),
            LogFormat::Json => line::json(event),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(levels: Option<&str>, format: Option<&str>) -> Result<Logging, LoggingError> {
        Logging::from_variables(|name| {
            let value = if name == LEVELS { levels } else { format };
            value.map(OsString::from)
        })
    }

    #[test]
    fn an_environment_that_says_nothing_leaves_the_defaults() {
        for (levels, format) in [(None, None), (Some(""), Some(" "))] {
            let logging = from(levels, format).unwrap();
            assert_eq!(logging.levels, Levels::parse("warn,lightning=info").unwrap());
            assert_eq!(logging.format, LogFormat::Text);
        }
    }

    #[test]
    fn the_environment_decides() {
        let logging = from(Some("debug"), Some("JSON")).unwrap();
        assert_eq!(logging.levels, Levels::parse("debug").unwrap());
        assert_eq!(logging.format, LogFormat::Json);
    }

    #[test]
    fn what_cannot_be_understood_is_named_with_its_variable() {
        let error = from(Some("warn,lightning=loud"), None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the variable LIGHTNING_LOG: `lightning=loud`: `loud` is no level: use off, error, warn, info, debug or trace"
        );
        let error = from(None, Some("xml")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the variable LIGHTNING_LOG_FORMAT: `xml` is no format: use `text` or `json`"
        );
    }
}
