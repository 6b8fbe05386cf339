//! A model's server that answers at once, in as few instructions as that takes: what proxies are measured and worn out with.

use std::sync::Arc;

use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// How many events a streamed answer has, besides the one that ends it.
pub const EVENTS: usize = 50;

/// The two answers, head and body.
#[derive(Debug)]
pub struct Answers {
    /// The body of the one in one piece.
    pub plain: String,
    /// The events of the streamed one.
    pub stream: String,
    plain_bytes: Vec<u8>,
    stream_bytes: Vec<u8>,
}

impl Answers {
    /// What a server says that counts tokens: 200 of them in one piece, 50 in a stream.
    pub fn new() -> Self {
        let plain = json!({
            "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "word ".repeat(200)},
                "finish_reason": "stop", "token_ids": (0..200).collect::<Vec<u32>>()}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 200, "total_tokens": 300},
        })
        .to_string();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length:";
        let plain_bytes = format!("{head} {}\r\n\r\n{plain}", plain.len()).into_bytes();
        let event = json!({
            "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m",
            "choices": [{"index": 0, "delta": {"content": "word "}, "finish_reason": null}],
        });
        let event = format!("data: {event}\n\n");
        let done = "data: [DONE]\n\n";
        let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        let chunks = chunk(&event).repeat(EVENTS) + &chunk(done);
        Self {
            plain,
            plain_bytes,
            stream: event.repeat(EVENTS) + done,
            stream_bytes: format!("{head}{chunks}0\r\n\r\n").into_bytes(),
        }
    }
}

impl Default for Answers {
    fn default() -> Self {
        Self::new()
    }
}

/// Answers whoever connects, until it is dropped: by a stream if that is asked for.
///
/// # Panics
///
/// If nobody can connect any more.
pub async fn serve(listener: TcpListener, answers: Arc<Answers>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.expect("connections are accepted");
        connections.spawn(answer(stream, Arc::clone(&answers)));
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(mut stream: TcpStream, answers: Arc<Answers>) {
    let _ = stream.set_nodelay(true);
    let mut bytes = Vec::new();
    loop {
        match stream.read_buf(&mut bytes).await {
            Ok(1..) => {}
            _ => return,
        }
        let Some(end) = position(&bytes, b"\r\n\r\n") else {
            continue;
        };
        if bytes.len() < end + 4 + content_length(&bytes[..end]) {
            continue;
        }
        let body = &bytes[end + 4..];
        let asks = [&b"\"stream\":true"[..], b"\"stream\": true"];
        let streams = asks.iter().any(|ask| position(body, ask).is_some());
        let answer = if streams {
            &answers.stream_bytes
        } else {
            &answers.plain_bytes
        };
        if stream.write_all(answer).await.is_err() {
            return;
        }
        bytes.clear();
    }
}

/// Where something begins within bytes.
pub fn position(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// The length of the body that a head tells of; 0 if it tells of none.
pub fn content_length(head: &[u8]) -> usize {
    let lines = head.split(|byte| *byte == b'\n');
    let mut lengths = lines.filter_map(|line| {
        let (name, value) = line.split_at_checked(15)?;
        let value = std::str::from_utf8(value).ok()?;
        name.eq_ignore_ascii_case(b"content-length:")
            .then(|| value.trim().parse().ok())?
    });
    lengths.next().unwrap_or(0)
}
