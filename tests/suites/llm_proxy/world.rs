//! Proxies under test, and clients that see every byte.

use lightning_core::llm_proxy::{ControlProxy as _, ProxyModel, Retries, ReverseProxy};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::upstream::{Upstream, json_answer, say};

pub(crate) const CHAT: &str = "/v1/chat/completions";

/// Retries without patience, so that tests need none.
pub(crate) fn quick() -> Retries {
    Retries {
        first_delay: Duration::from_millis(1),
        ..Retries::default()
    }
}

/// The model `m` at this server, where it is called `up`.
pub(crate) fn model(upstream: &Upstream) -> ProxyModel {
    let mut model = ProxyModel::new("m", upstream.base_url()).retries(quick());
    model.backends[0].model = Some("up".to_owned());
    model
}

/// A proxy that has been started.
pub(crate) async fn proxy(model: ProxyModel) -> ReverseProxy {
    let proxy = ReverseProxy::builder().model(model).build().unwrap();
    proxy.start().await.unwrap();
    proxy
}

/// A server that says what it was asked.
pub(crate) async fn echo() -> Upstream {
    Upstream::start(|seen, stream| async move {
        let word = seen.json()["messages"][0]["content"].clone();
        let answer = json!({
            "id": format!("id-{}", seen.number), "object": "chat.completion", "model": "up",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": word}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        });
        say(stream, json_answer("200 OK", answer.to_string())).await
    })
    .await
}

/// A request for a chat completion of the model `m`.
pub(crate) fn chat() -> Value {
    json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]})
}

pub(crate) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().skip(1).find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

/// An answer, taken apart.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    /// Whether the body came to its end.
    pub(crate) complete: bool,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    /// What went wrong, as OpenAI's clients read it.
    pub(crate) fn message(&self) -> String {
        self.json()["error"]["message"].as_str().unwrap().to_owned()
    }
}

/// A client's connection.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    read: Vec<u8>,
}

impl Client {
    pub(crate) async fn connect(proxy: &ReverseProxy) -> Self {
        Self::to(&proxy.address().unwrap().to_string()).await
    }

    pub(crate) async fn to(address: &str) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        Self {
            stream,
            read: Vec::new(),
        }
    }

    pub(crate) async fn send(&mut self, method: &str, path: &str, headers: &[&str], body: impl AsRef<[u8]>) {
        let body = body.as_ref();
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n");
        for header in headers {
            head += &format!("{header}\r\n");
        }
        if method == "POST" {
            head += &format!("content-length: {}\r\n", body.len());
        }
        head += "\r\n";
        // Who is refused by the head alone may find the connection closed.
        let _ = self.stream.write_all(&[head.as_bytes(), body].concat()).await;
    }

    async fn more(&mut self) -> bool {
        matches!(self.stream.read_buf(&mut self.read).await, Ok(1..))
    }

    /// The head of the answer.
    pub(crate) async fn head(&mut self) -> String {
        loop {
            if let Some(end) = self.read.windows(4).position(|window| window == b"\r\n\r\n") {
                let rest = self.read.split_off(end + 4);
                let head = std::mem::replace(&mut self.read, rest);
                return String::from_utf8(head).unwrap().trim_end().to_owned();
            }
            let so_far = self.read.len();
            assert!(self.more().await, "no answer, but {so_far} bytes");
        }
    }

    /// The next piece of a chunked body; empty at its end, `None` if there is no end.
    pub(crate) async fn chunk(&mut self) -> Option<Vec<u8>> {
        let (start, length) = loop {
            if let Some(end) = self.read.windows(2).position(|window| window == b"\r\n") {
                let length = std::str::from_utf8(&self.read[..end]).unwrap();
                break (end + 2, usize::from_str_radix(length, 16).unwrap());
            }
            if !self.more().await {
                return None;
            }
        };
        while self.read.len() < start + length + 2 {
            if !self.more().await {
                return None;
            }
        }
        let chunk = self.read[start..start + length].to_vec();
        self.read.drain(..start + length + 2);
        Some(chunk)
    }

    /// The whole answer.
    pub(crate) async fn answer(&mut self) -> Answer {
        let head = self.head().await;
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut answer = Answer {
            status,
            body: Vec::new(),
            complete: true,
            head,
        };
        if let Some(length) = answer.header("content-length") {
            let length: usize = length.parse().unwrap();
            while self.read.len() < length && answer.complete {
                answer.complete = self.more().await;
            }
            let rest = self.read.split_off(self.read.len().min(length));
            answer.body = std::mem::replace(&mut self.read, rest);
        } else {
            loop {
                match self.chunk().await {
                    None => answer.complete = false,
                    Some(chunk) if !chunk.is_empty() => {
                        answer.body.extend(chunk);
                        continue;
                    }
                    Some(_) => {}
                }
                break;
            }
        }
        answer
    }
}

/// One request on a connection of its own.
pub(crate) async fn send(
    proxy: &ReverseProxy,
    method: &str,
    path: &str,
    headers: &[&str],
    body: impl AsRef<[u8]>,
) -> Answer {
    let mut client = Client::connect(proxy).await;
    client.send(method, path, headers, body).await;
    client.answer().await
}

pub(crate) async fn post(proxy: &ReverseProxy, path: &str, body: &Value) -> Answer {
    let headers = ["content-type: application/json"];
    send(proxy, "POST", path, &headers, body.to_string()).await
}

pub(crate) async fn get(proxy: &ReverseProxy, path: &str) -> Answer {
    send(proxy, "GET", path, &[], "").await
}
