//! A model's server that does as the test says, down to the bytes.

use std::{future::Future, pin::Pin, sync::Arc};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};
use tokio_util::task::AbortOnDropHandle;

type Handled = Pin<Box<dyn Future<Output = Option<TcpStream>> + Send>>;
type Handler = Arc<dyn Fn(Seen, TcpStream) -> Handled + Send + Sync>;

/// A server on a free port, until it is dropped.
pub(crate) struct Upstream {
    pub(crate) address: std::net::SocketAddr,
    seen: watch::Receiver<Vec<Seen>>,
    _accepting: AbortOnDropHandle<()>,
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Counts the requests of this server, from 0.
    pub(crate) number: usize,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        super::world::header(&self.head, name)
    }

    /// The method and the path.
    pub(crate) fn line(&self) -> &str {
        self.head.lines().next().unwrap().trim_end_matches(" HTTP/1.1")
    }
}

impl Upstream {
    /// Answers each request by `handle`, which gets the connection and gives it back if it is to stay open.
    pub(crate) async fn start<F>(handle: impl Fn(Seen, TcpStream) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Option<TcpStream>> + Send + 'static,
    {
        let handle: Handler = Arc::new(move |seen, stream| Box::pin(handle(seen, stream)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, seen) = watch::channel(Vec::new());
        let sender = Arc::new(sender);
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                connections.spawn(connection(stream, Arc::clone(&handle), Arc::clone(&sender)));
                while connections.try_join_next().is_some() {}
            }
        });
        Self {
            address,
            seen,
            _accepting: AbortOnDropHandle::new(accepting),
        }
    }

    /// Answers every request with this.
    pub(crate) async fn always(answer: impl Into<Vec<u8>>) -> Self {
        let answer: Arc<[u8]> = answer.into().into();
        Self::start(move |_, stream| say(stream, Arc::clone(&answer))).await
    }

    /// Answers the first requests with these, one each, and all later ones with the last.
    pub(crate) async fn script(answers: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let answers: Vec<Arc<[u8]>> = answers.into_iter().map(Arc::from).collect();
        Self::start(move |seen, stream| {
            let answer = answers.get(seen.number).or(answers.last()).unwrap();
            say(stream, Arc::clone(answer))
        })
        .await
    }

    pub(crate) fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// All requests so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.borrow().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.seen.borrow().len()
    }

    /// Resolves once there were so many requests.
    pub(crate) async fn arrived(&self, count: usize) {
        let mut seen = self.seen.clone();
        seen.wait_for(|seen| seen.len() >= count).await.unwrap();
    }
}

async fn connection(mut stream: TcpStream, handle: Handler, sender: Arc<watch::Sender<Vec<Seen>>>) {
    while let Some((head, body)) = read_request(&mut stream).await {
        let mut seen = Seen {
            number: 0,
            head,
            body,
        };
        sender.send_modify(|all| {
            seen.number = all.len();
            all.push(seen.clone());
        });
        match handle(seen, stream).await {
            Some(open) => stream = open,
            None => return,
        }
    }
}

async fn read_request(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let body = bytes.split_off(end + 4);
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let length = super::world::header(&head, "content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = body;
    while body.len() < length {
        if stream.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    Some((head, body))
}

/// Sends bytes and keeps the connection.
pub(crate) async fn say(mut stream: TcpStream, bytes: impl AsRef<[u8]>) -> Option<TcpStream> {
    stream.write_all(bytes.as_ref()).await.ok()?;
    Some(stream)
}

/// A complete answer with a JSON body.
pub(crate) fn json_answer(status: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    with_headers(status, &["content-type: application/json"], body)
}

/// A complete answer.
pub(crate) fn with_headers(status: &str, headers: &[&str], body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n", body.len());
    for header in headers {
        head += &format!("{header}\r\n");
    }
    head += "\r\n";
    [head.as_bytes(), body].concat()
}

/// The head of a stream of events.
pub(crate) const STREAM: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
/// The end of a chunked body.
pub(crate) const END: &str = "0\r\n\r\n";

/// A piece of a chunked body.
pub(crate) fn chunk(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}
