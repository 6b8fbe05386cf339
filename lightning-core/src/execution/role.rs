//! What a process does in a run that is spread over several.

use std::{fmt, str::FromStr};

use super::environment::Environment;

/// What a process does in a run that is spread over several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// It runs the algorithm, and serves the store unless that is elsewhere. The runners are other people's business.
    Algorithm,
    /// It executes the agent on the rollouts of a store elsewhere.
    Runner,
    /// It runs the algorithm, serves the store, and starts the runners as processes of their own.
    Both,
}

impl Role {
    /// As the environment has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Algorithm => "algorithm",
            Self::Runner => "runner",
            Self::Both => "both",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "algorithm" => Ok(Self::Algorithm),
            "runner" => Ok(Self::Runner),
            "both" => Ok(Self::Both),
            _ => Err("is no role; write `algorithm`, `runner` or `both`".to_owned()),
        }
    }
}

/// The role of this process, so that a program can leave out what only one of its processes should do.
///
/// With [`ClientServer`](super::ClientServer) in the role `both`, the program is started again for each runner. Everything
/// before `fit` is executed there as well; and what comes after it, never.
///
/// ```no_run
/// use lightning_core::execution::{Role, role};
///
/// if role() != Role::Runner {
///     println!("preparing the report");
/// }
/// ```
///
/// It is [`Role::Runner`] in a process that was started so, and otherwise what `LIGHTNING_ROLE` says; [`Role::Both`] if
/// that says nothing, or nothing that can be understood, of which `fit` will complain.
pub fn role() -> Role {
    if super::RunnerProcess::is_one() {
        return Role::Runner;
    }
    let environment = Environment::of_process().unwrap_or_default();
    environment.role.unwrap_or(Role::Both)
}
