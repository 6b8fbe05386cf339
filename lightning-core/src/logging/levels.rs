//! Which events are logged.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use tracing::{Metadata, Subscriber, level_filters::LevelFilter, subscriber::Interest};
use tracing_subscriber::layer::{Context, Filter};

use crate::tracer::is_target_below;

const NAMES: &str = "off, error, warn, info, debug or trace";

/// A level for each target, by directives as `EnvFilter` of tracing-subscriber has them, without those for spans and
/// fields. That one takes a misspelt level for the name of a target, and targets for each other that begin alike.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Levels {
    /// The longest first, so that the first one that fits is the one that counts.
    targets: Vec<(String, LevelFilter)>,
    others: Option<LevelFilter>,
}

/// A directive that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{directive}`: {problem}")]
pub struct DirectiveError {
    directive: String,
    problem: String,
}

impl DirectiveError {
    /// The directive.
    pub fn directive(&self) -> &str {
        &self.directive
    }
}

impl Levels {
    pub(super) fn parse(directives: &str) -> Result<Self, DirectiveError> {
        let mut levels = Self::default();
        for directive in directives.split(',').map(str::trim) {
            let refuse = |problem: String| DirectiveError {
                directive: directive.to_owned(),
                problem,
            };
            if directive.is_empty() {
                continue;
            }
            if directive.contains(['[', '{']) {
                let problem = "directives for spans or fields are not understood: use `target=level`";
                return Err(refuse(problem.to_owned()));
            }
            let Some((target, name)) = directive.split_once('=') else {
                // A target alone is refused: it may be a level that is misspelt, and would switch off all the others.
                let problem = || format!("no level ({NAMES}); for a target, write `{directive}=debug`");
                levels.others = Some(level(directive).ok_or_else(|| refuse(problem()))?);
                continue;
            };
            let (target, name) = (target.trim(), name.trim());
            if target.is_empty() {
                return Err(refuse("there is no target before the `=`".to_owned()));
            }
            let level = level(name).ok_or_else(|| refuse(format!("`{name}` is no level: use {NAMES}")))?;
            levels.targets.retain(|(other, _)| other != target);
            levels.targets.push((target.to_owned(), level));
        }
        levels
            .targets
            .sort_by_key(|(target, _)| std::cmp::Reverse(target.len()));
        Ok(levels)
    }

    fn logs(&self, metadata: &Metadata<'_>) -> bool {
        // First of all, since spans that are recorded come by here each time.
        if !metadata.is_event() {
            return false;
        }
        let of_target = self
            .targets
            .iter()
            .find(|(target, _)| is_target_below(metadata.target(), target));
        let level = of_target.map_or(self.others, |(_, level)| Some(*level));
        level.is_some_and(|level| *metadata.level() <= level)
    }

    fn most(&self) -> LevelFilter {
        let levels = self.targets.iter().map(|(_, level)| *level);
        levels.chain(self.others).max().unwrap_or(LevelFilter::OFF)
    }
}

/// Levels that can be replaced while a program runs. A clone is the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Replaceable(Arc<RwLock<Levels>>);

impl Replaceable {
    pub(super) fn replace(&self, levels: Levels) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = levels;
        // Who asked before remembers the answer.
        tracing::callsite::rebuild_interest_cache();
    }

    fn read(&self) -> RwLockReadGuard<'_, Levels> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Subscriber> Filter<S> for Replaceable {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        self.read().logs(metadata)
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.read().logs(metadata) {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.read().most())
    }
}

fn level(name: &str) -> Option<LevelFilter> {
    Some(match &*name.to_lowercase() {
        "off" => LevelFilter::OFF,
        "error" => LevelFilter::ERROR,
        "warn" => LevelFilter::WARN,
        "info" => LevelFilter::INFO,
        "debug" => LevelFilter::DEBUG,
        "trace" => LevelFilter::TRACE,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directive_that_cannot_be_understood_is_named() {
        let cases = [
            (
                "infos",
                "`infos`: no level (off, error, warn, info, debug or trace); for a target, write `infos=debug`",
            ),
            (
                "warn,hyper=",
                "`hyper=`: `` is no level: use off, error, warn, info, debug or trace",
            ),
            ("warn, =info", "`=info`: there is no target before the `=`"),
            (
                "[rollout]=info",
                "`[rollout]=info`: directives for spans or fields are not understood: use `target=level`",
            ),
        ];
        for (directives, message) in cases {
            assert_eq!(Levels::parse(directives).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn blanks_and_capitals_do_not_matter_and_the_last_one_counts() {
        let levels = Levels::parse(" WARN , lightning = debug,,lightning=Info,").unwrap();
        assert_eq!(levels, Levels::parse("lightning=info,warn").unwrap());
    }

    #[test]
    fn the_most_that_any_target_asks_for_is_known() {
        let cases = [
            ("", LevelFilter::OFF),
            ("off", LevelFilter::OFF),
            ("error,hyper=debug", LevelFilter::DEBUG),
            ("trace,hyper=off", LevelFilter::TRACE),
        ];
        for (directives, most) in cases {
            assert_eq!(Levels::parse(directives).unwrap().most(), most, "{directives}");
        }
    }
}
