//! The table of routes: what there is, who may call it, and who answers. The router is built from it, and nothing else is
//! routed.

use std::sync::Arc;

use axum::{
    Router,
    handler::Handler,
    http::{Method, StatusCode},
    middleware::from_fn_with_state,
    routing::{self, MethodRouter},
};

use super::{
    app::{Guard, Shared, around},
    refusal::Refusal,
    tokens::Role,
};

/// A route.
pub(super) struct Route {
    method: Method,
    path: String,
    who: Who,
    handler: MethodRouter<Shared>,
}

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// Whoever is there, without a token too.
    Anybody,
    /// Those with a token of one of these roles.
    Roles(&'static [Role]),
}

/// A route and who may call it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Access {
    /// `GET` or `POST`. What may be asked for by `GET` may also be by `HEAD`.
    pub method: &'static str,
    /// The path, with names in braces for what differs.
    pub path: String,
    /// The roles whose tokens open it. A server without tokens opens it to everybody.
    pub roles: &'static [Role],
    /// Whether it is open without a token too.
    pub open: bool,
}

pub(super) fn get<H, T>(path: &str, who: Who, handler: H) -> Route
where
    H: Handler<T, Shared>,
    T: 'static,
{
    Route {
        method: Method::GET,
        path: path.to_owned(),
        who,
        handler: routing::get(handler),
    }
}

pub(super) fn post<H, T>(path: &str, who: Who, handler: H) -> Route
where
    H: Handler<T, Shared>,
    T: 'static,
{
    Route {
        method: Method::POST,
        path: path.to_owned(),
        who,
        handler: routing::post(handler),
    }
}

impl Route {
    /// The same below a prefix.
    pub(super) fn below(mut self, prefix: &str) -> Self {
        self.path.insert_str(0, prefix);
        self
    }

    pub(super) fn access(&self) -> Access {
        Access {
            method: if self.method == Method::GET { "GET" } else { "POST" },
            path: self.path.clone(),
            roles: match self.who {
                Who::Anybody => &Role::ALL,
                Who::Roles(roles) => roles,
            },
            open: self.who == Who::Anybody,
        }
    }
}

/// The routes, each behind its own guard. What is routed nowhere is told only to those who have a token.
pub(super) fn router(app: &Shared, routes: Vec<Route>) -> Router<Shared> {
    let guard = |path: &str, method, who| {
        let guard = Guard::new(app.clone(), path, method, who);
        from_fn_with_state(Arc::new(guard), around)
    };
    let nowhere = guard("(none)", None, Who::Roles(&Role::ALL));
    let mut router = Router::new();
    for Route {
        method,
        path,
        who,
        handler,
    } in routes
    {
        router = router.route(&path, handler.route_layer(guard(&path, Some(method), who)));
    }
    router
        .method_not_allowed_fallback(method_not_allowed.layer(nowhere.clone()))
        .fallback(not_found.layer(nowhere))
}

async fn not_found() -> Refusal {
    Refusal::Status(StatusCode::NOT_FOUND, "Not Found".to_owned())
}

async fn method_not_allowed() -> Refusal {
    Refusal::Status(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed".to_owned())
}
