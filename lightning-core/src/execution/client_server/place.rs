//! Where a process stands in a run: what the program says, then what the environment says, then what is usual.

use super::ClientServer;
use crate::{
    execution::{
        Role,
        environment::{Environment, EnvironmentError},
    },
    server::DEFAULT_PORT,
};

const LOOPBACK: &str = "127.0.0.1";

/// What a process does, and where its store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// It runs the algorithm and serves the store here; and it starts the runners, if it does `both`.
    Served {
        /// Host and port.
        address: String,
        both: bool,
    },
    /// It runs the algorithm with the store there; and it starts the runners, if it does `both`.
    Elsewhere { url: String, both: bool },
    /// It runs runners for the store there.
    Runner { url: String },
}

/// Why it cannot be said where a process stands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlaceError {
    /// The environment cannot be understood.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),

    /// There are two answers.
    #[error(
        "the store is to be served here, and it is to be at {url}: take away the URL (`LIGHTNING_STORE_URL`), or say that \
         the store is not managed (`LIGHTNING_MANAGED_STORE=0`)"
    )]
    Contradiction {
        /// The URL, without its password.
        url: String,
    },
}

pub(super) struct Plan {
    pub(super) place: Place,
}

impl Plan {
    pub(super) fn of(strategy: &ClientServer, environment: &Environment) -> Result<Self, PlaceError> {
        let role = strategy.role.or(environment.role).unwrap_or(Role::Both);
        let told = strategy.store_url.as_ref().map(|url| url.expose().to_owned());
        let url = told.or_else(|| environment.store_url.clone());
        let host = strategy.host.clone().or(environment.host.clone());
        let port = strategy.port.or(environment.port);
        let managed = strategy.managed_store.or(environment.managed_store);
        let there = || {
            let host = host.as_deref().unwrap_or(LOOPBACK);
            // One listens on all addresses, but nobody connects to all of them.
            let host = match host {
                "0.0.0.0" => LOOPBACK,
                "::" => "::1",
                host => host,
            };
            format!("http://{}", joined(host, port.unwrap_or(DEFAULT_PORT)))
        };
        let both = role == Role::Both;
        let place = match (role, url, managed) {
            (Role::Runner, url, _) => Place::Runner {
                url: url.unwrap_or_else(there),
            },
            (_, Some(url), Some(true)) => {
                return Err(PlaceError::Contradiction {
                    url: super::shown(&url),
                });
            }
            (_, Some(url), _) => Place::Elsewhere { url, both },
            (_, None, Some(false)) => Place::Elsewhere { url: there(), both },
            (_, None, _) => {
                let usual = if both { 0 } else { DEFAULT_PORT };
                let host = host.as_deref().unwrap_or(LOOPBACK);
                Place::Served {
                    address: joined(host, port.unwrap_or(usual)),
                    both,
                }
            }
        };
        Ok(Self { place })
    }
}

fn joined(host: &str, port: u16) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(strategy: &ClientServer, environment: &Environment) -> Place {
        Plan::of(strategy, environment).unwrap().place
    }

    fn served(address: &str, both: bool) -> Place {
        Place::Served {
            address: address.to_owned(),
            both,
        }
    }

    #[test]
    fn without_any_word_everything_is_here() {
        let nothing = Environment::default();
        assert_eq!(place(&ClientServer::new(), &nothing), served("127.0.0.1:0", true));
        let algorithm = ClientServer::new().role(Role::Algorithm);
        assert_eq!(place(&algorithm, &nothing), served("127.0.0.1:4747", false));
        let runner = ClientServer::new().role(Role::Runner);
        let url = "http://127.0.0.1:4747".to_owned();
        assert_eq!(place(&runner, &nothing), Place::Runner { url });
    }

    #[test]
    fn the_program_wins_over_the_environment() {
        let environment = Environment {
            role: Some(Role::Runner),
            host: Some("::".to_owned()),
            port: Some(1),
            ..Environment::default()
        };
        let url = "http://[::1]:1".to_owned();
        assert_eq!(place(&ClientServer::new(), &environment), Place::Runner { url });
        let strategy = ClientServer::new().role(Role::Algorithm).port(2);
        assert_eq!(place(&strategy, &environment), served("[::]:2", false));
        let url = "http://there:3".to_owned();
        let strategy = strategy.store_url(&url);
        assert_eq!(
            place(&strategy, &environment),
            Place::Elsewhere { url, both: false }
        );
    }

    #[test]
    fn a_store_that_is_not_managed_is_where_the_server_is() {
        let environment = Environment {
            managed_store: Some(false),
            host: Some("0.0.0.0".to_owned()),
            ..Environment::default()
        };
        let url = "http://127.0.0.1:4747".to_owned();
        assert_eq!(
            place(&ClientServer::new(), &environment),
            Place::Elsewhere { url, both: true }
        );
    }

    #[test]
    fn a_store_cannot_be_in_two_places_and_passwords_are_not_shown() {
        let strategy = ClientServer::new()
            .managed_store(true)
            .store_url("http://x:secret@h:1");
        let error = Plan::of(&strategy, &Environment::default())
            .err()
            .unwrap()
            .to_string();
        assert!(
            error.contains("http://h:1") && !error.contains("secret"),
            "{error}"
        );
    }
}
