//! How our servers take connections: so many at once, each with a limit for its heads, until they are told to stop. And
//! which names lead to this machine only. Knows nothing of what is said on a connection.

use std::{error::Error, net::IpAddr, sync::Arc, time::Duration};

use hyper::{
    Request, Response,
    body::{Body, Incoming},
    server::conn::http1,
    service::Service,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

/// What connections may take.
pub(crate) struct Limits {
    /// How many there may be at once. Further ones wait until one is closed.
    pub(crate) connections: usize,
    /// How long the head of a request may take, and a connection may be idle.
    pub(crate) header_timeout: Duration,
}

/// Connections that are open when nothing more is accepted. All are closed at once when it is dropped.
pub(crate) struct Connections {
    open: JoinSet<()>,
    graceful: GracefulShutdown,
}

/// Accepts connections and answers what is asked on them until `stop` is cancelled. When the future is dropped, all are
/// closed at once.
pub(crate) async fn accept<S, B>(
    listener: TcpListener,
    limits: &Limits,
    stop: &CancellationToken,
    service: S,
) -> Connections
where
    S: Service<Request<Incoming>, Response = Response<B>, Future: Send> + Clone + Send + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout);
    let graceful = GracefulShutdown::new();
    let slots = Arc::new(Semaphore::new(limits.connections));
    let mut open = JoinSet::new();
    loop {
        let next = async {
            // The semaphore is never closed.
            let slot = Arc::clone(&slots).acquire_owned().await.ok();
            (slot, next(&listener).await)
        };
        let (slot, stream) = tokio::select! {
            biased;
            () = stop.cancelled() => return Connections { open, graceful },
            Some(_) = open.join_next() => continue,
            next = next => next,
        };
        let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), service.clone()));
        open.spawn(async move {
            if let Err(error) = connection.await {
                // Callers leave as they like; only who looks for it wants to know.
                tracing::trace!(target: "lightning::listening", %error, "a connection broke");
            }
            drop(slot);
        });
    }
}

impl Connections {
    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.open.len()
    }

    /// Has what is under way finished, for as long as this. Gives how many connections were then closed in the middle of it.
    pub(crate) async fn finish(mut self, within: Duration) -> usize {
        let finished = tokio::time::timeout(within, self.graceful.shutdown()).await;
        let given_up = if finished.is_err() { self.open.len() } else { 0 };
        self.open.shutdown().await;
        given_up
    }
}

/// The next connection. What keeps it from being accepted is passing (too many open files), so it is tried again.
async fn next(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // What is sent is small and written at once; waiting for more would only delay it.
                let _ = stream.set_nodelay(true);
                return stream;
            }
            Err(error) => {
                tracing::warn!(target: "lightning::listening", %error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Whether a `Host` is one that nobody else can have point here: `localhost`, or an address. A web page can have its own
/// name point to this machine (DNS rebinding), which then shows in `Host`.
pub(crate) fn is_local(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_others_can_point_here_are_told_apart() {
        for local in [
            "localhost",
            "LocalHost:4747",
            "127.0.0.1",
            "127.0.0.1:80",
            "[::1]:4747",
            "[::1]",
            "10.0.0.7:1",
        ] {
            assert!(is_local(local), "{local}");
        }
        for foreign in [
            "evil.example",
            "evil.example:4747",
            "localhost.evil.example",
            "127.0.0.1.nip.io:4747",
            "x:y",
        ] {
            assert!(!is_local(foreign), "{foreign}");
        }
    }
}
