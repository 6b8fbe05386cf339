//! Streams: out as they come in, whatever comes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use lightning_core::{
    llm_proxy::{ControlProxy as _, ProxyModel, ReverseProxy, TimeLimits},
    semconv,
    store::{MemoryStore, Store},
    types::{NewRollout, SpanQuery},
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::{Notify, Semaphore},
    task::JoinSet,
};

use super::{
    upstream::{END, STREAM, Upstream, chunk, say, with_headers},
    world::{CHAT, Client, chat, header, model, post, proxy},
};

#[tokio::test]
async fn a_piece_reaches_the_client_before_the_next_one_exists() {
    let go_on = Arc::new(Semaphore::new(0));
    let gate = Arc::clone(&go_on);
    let upstream = Upstream::start(move |_, mut stream| {
        let gate = Arc::clone(&gate);
        async move {
            stream.write_all(STREAM.as_bytes()).await.ok()?;
            for number in 0..3 {
                stream
                    .write_all(&chunk(format!("data: {number}\n\n")))
                    .await
                    .ok()?;
                // The client has to have this piece before the next one is written.
                gate.acquire().await.unwrap().forget();
            }
            say(stream, END).await
        }
    })
    .await;
    let proxy = proxy(model(&upstream)).await;
    let mut client = Client::connect(&proxy).await;
    client.send("POST", CHAT, &[], chat().to_string()).await;
    let head = client.head().await;
    assert_eq!(header(&head, "content-type"), Some("text/event-stream"));
    for number in 0..3 {
        assert_eq!(
            client.chunk().await.unwrap(),
            format!("data: {number}\n\n").into_bytes()
        );
        go_on.add_permits(1);
    }
    assert_eq!(client.chunk().await.as_deref(), Some(&b""[..]));
    // The connection goes on.
    client.send("GET", "/health", &[], "").await;
    assert_eq!(client.answer().await.json()["calls_under_way"], 0);
}

#[tokio::test]
async fn what_breaks_off_is_not_made_to_look_whole() {
    // In the middle of a stream, of a chunk, and of a body whose length was told.
    let broken: [Vec<u8>; 3] = [
        [STREAM.as_bytes(), &chunk("data: 1\n\n")].concat(),
        [STREAM.as_bytes(), &chunk("data: 1\n\n"), b"ff\r\ndata: 2"].concat(),
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"half\":".to_vec(),
    ];
    for answer in broken {
        let shown = String::from_utf8_lossy(&answer).into_owned();
        let answer: Arc<[u8]> = answer.into();
        let upstream = Upstream::start(move |_, mut stream| {
            let answer = Arc::clone(&answer);
            async move {
                stream.write_all(&answer).await.ok()?;
                None
            }
        })
        .await;
        let proxy = proxy(model(&upstream)).await;
        let got = post(&proxy, CHAT, &chat()).await;
        assert_eq!((got.status, got.complete), (200, false), "{shown}");
        assert!(!got.body.is_empty(), "{shown}");
        assert_eq!(upstream.count(), 1, "what has begun is not tried again");
        proxy.drain().await.unwrap();
    }
}

#[tokio::test]
async fn bytes_that_are_no_text_come_through() {
    let bytes: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    let mut answer = STREAM.as_bytes().to_vec();
    for piece in bytes.chunks(777) {
        answer.extend(chunk(piece));
    }
    answer.extend(END.as_bytes());
    let upstream = Upstream::always(answer).await;
    let proxy = proxy(model(&upstream)).await;
    let got = post(&proxy, "/rollout/r/attempt/a/v1/chat/completions", &chat()).await;
    assert!(got.complete && got.body == bytes);
}

#[tokio::test]
async fn ten_megabytes_go_either_way() {
    let large: Vec<u8> = (0..10_000_000_u32)
        .map(|number| b'a' + (number % 23) as u8)
        .collect();
    let upstream = Upstream::always(with_headers("200 OK", &["content-type: text/plain"], &large)).await;
    let proxy = proxy(model(&upstream)).await;
    let text = String::from_utf8(large.clone()).unwrap();
    let got = post(&proxy, CHAT, &json!({"model": "m", "x": text})).await;
    assert!(got.complete && got.body == large);
    assert_eq!(upstream.seen()[0].json()["x"], text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_streams_go_side_by_side() {
    const STREAMS: usize = 1_000;
    const ROLLOUTS: usize = 100;
    // Nobody gets an end before everybody has a beginning.
    let begun = Arc::new(AtomicUsize::new(0));
    let all = Arc::new(Notify::new());
    let (counter, last) = (Arc::clone(&begun), Arc::clone(&all));
    let upstream = Upstream::start(move |seen, mut stream| {
        let (begun, all) = (Arc::clone(&counter), Arc::clone(&last));
        async move {
            let who = seen.json()["who"].as_u64().unwrap();
            let mut everybody = std::pin::pin!(all.notified());
            everybody.as_mut().enable();
            stream.write_all(STREAM.as_bytes()).await.ok()?;
            stream
                .write_all(&chunk(format!("data: {who}.0\n\n")))
                .await
                .ok()?;
            if begun.fetch_add(1, Ordering::SeqCst) + 1 == STREAMS {
                all.notify_waiters();
            }
            everybody.await;
            for number in 1..5 {
                stream
                    .write_all(&chunk(format!("data: {who}.{number}\n\n")))
                    .await
                    .ok()?;
            }
            say(stream, END).await
        }
    })
    .await;
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    // Nor does it matter how long a busy machine takes.
    let limits = TimeLimits {
        connect: Duration::from_secs(600),
        ..TimeLimits::default()
    };
    let builder = ReverseProxy::builder().model(model(&upstream).time_limits(limits));
    let proxy = builder.store(Arc::clone(&store)).build().unwrap();
    proxy.start().await.unwrap();
    let mut attempts = Vec::new();
    for number in 0..ROLLOUTS {
        let rollout = NewRollout::new(json!(number));
        attempts.push(store.start_rollout(rollout, None).await.unwrap());
    }
    let asks = |who: usize| {
        let messages = json!([{"role": "user", "content": format!("I am {who}.")}]);
        json!({"model": "m", "who": who, "stream": true, "messages": messages})
    };
    let mut clients = JoinSet::new();
    for who in 0..STREAMS {
        let made = &attempts[who % ROLLOUTS];
        let path = format!(
            "/rollout/{}/attempt/{}{CHAT}",
            made.rollout_id, made.attempt.attempt_id
        );
        // One after the other: who connects and is silent for long is sent away.
        let mut client = Client::connect(&proxy).await;
        client.send("POST", &path, &[], asks(who).to_string()).await;
        clients.spawn(async move {
            let got = client.answer().await;
            let expected: String = (0..5).map(|number| format!("data: {who}.{number}\n\n")).collect();
            assert_eq!((got.status, got.complete, got.text()), (200, true, expected));
        });
    }
    while let Some(done) = clients.join_next().await {
        done.unwrap();
    }
    proxy.drain().await.unwrap();
    // Each attempt has its own streams, all of them, and no others.
    for (number, made) in attempts.iter().enumerate() {
        let (rollout, attempt) = (&made.rollout_id, &made.attempt.attempt_id);
        proxy.recorded(rollout, attempt).await.unwrap();
        let spans = store
            .query_spans(SpanQuery::of(rollout.clone()))
            .await
            .unwrap()
            .items;
        let calls = spans.iter().filter(|span| span.name == semconv::PROXY_REQUEST);
        let mut said: Vec<&str> = calls
            .map(|span| span.attributes["gen_ai.prompt.0.content"].as_str().unwrap())
            .collect();
        said.sort_unstable();
        let mut expected: Vec<String> = (number..STREAMS)
            .step_by(ROLLOUTS)
            .map(|who| format!("I am {who}."))
            .collect();
        expected.sort_unstable();
        assert_eq!(said, expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_go_on_while_models_change() {
    const STREAMS: usize = 50;
    let go_on = Arc::new(Semaphore::new(0));
    let gate = Arc::clone(&go_on);
    let old = Upstream::start(move |seen, mut stream| {
        let gate = Arc::clone(&gate);
        async move {
            let who = seen.json()["who"].as_u64().unwrap();
            stream.write_all(STREAM.as_bytes()).await.ok()?;
            stream
                .write_all(&chunk(format!("data: {who}.0\n\n")))
                .await
                .ok()?;
            gate.acquire().await.unwrap().forget();
            stream
                .write_all(&chunk(format!("data: {who}.1\n\n")))
                .await
                .ok()?;
            say(stream, END).await
        }
    })
    .await;
    let new = Upstream::always(with_headers("200 OK", &[], "new")).await;
    let proxy = proxy(model(&old)).await;
    let mut clients = Vec::new();
    for who in 0..STREAMS {
        let mut client = Client::connect(&proxy).await;
        let body = json!({"model": "m", "who": who, "stream": true});
        client.send("POST", CHAT, &[], body.to_string()).await;
        client.head().await;
        assert_eq!(
            client.chunk().await.unwrap(),
            format!("data: {who}.0\n\n").into_bytes()
        );
        clients.push(client);
    }
    // Another server, then no such model, then the first one again.
    proxy.set_models(vec![model(&new)]).await.unwrap();
    assert_eq!(post(&proxy, CHAT, &chat()).await.text(), "new");
    let other = ProxyModel::new("n", new.base_url());
    proxy.set_models(vec![other]).await.unwrap();
    assert_eq!(post(&proxy, CHAT, &chat()).await.status, 404);
    assert_eq!(proxy.calls_under_way(), STREAMS);
    go_on.add_permits(STREAMS / 2);
    proxy.set_models(vec![model(&old)]).await.unwrap();
    go_on.add_permits(STREAMS - STREAMS / 2);
    for (who, mut client) in clients.into_iter().enumerate() {
        assert_eq!(
            client.chunk().await.unwrap(),
            format!("data: {who}.1\n\n").into_bytes()
        );
        assert_eq!(client.chunk().await.as_deref(), Some(&b""[..]));
    }
    proxy.drain().await.unwrap();
    assert_eq!(old.count(), STREAMS);
}

#[tokio::test]
async fn a_slow_reader_holds_up_the_backend_and_nobody_else() {
    const PIECE: usize = 1 << 16;
    let written = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&written);
    let upstream = Upstream::start(move |seen, mut stream| {
        let written = Arc::clone(&counter);
        async move {
            if seen.json()["who"] == "quick" {
                return say(stream, with_headers("200 OK", &[], "quick")).await;
            }
            stream.write_all(STREAM.as_bytes()).await.ok()?;
            for _ in 0..1_000 {
                stream.write_all(&chunk(vec![b'x'; PIECE])).await.ok()?;
                written.fetch_add(PIECE, Ordering::SeqCst);
            }
            say(stream, END).await
        }
    })
    .await;
    let proxy = proxy(model(&upstream)).await;
    let mut slow = Client::connect(&proxy).await;
    slow.send(
        "POST",
        CHAT,
        &[],
        json!({"model": "m", "who": "slow"}).to_string(),
    )
    .await;
    slow.head().await;
    // While it does not read, others are served, and the backend is not read to its end.
    for _ in 0..50 {
        let quick = post(&proxy, CHAT, &json!({"model": "m", "who": "quick"})).await;
        assert_eq!(quick.text(), "quick");
    }
    let ahead = written.load(Ordering::SeqCst);
    assert!(
        ahead < 600 * PIECE,
        "the proxy swallowed {ahead} bytes that nobody reads"
    );
    let mut length = 0;
    loop {
        match slow.chunk().await.expect("the stream has an end").len() {
            0 => break,
            more => length += more,
        }
    }
    assert_eq!(length, 1_000 * PIECE);
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_call_at_the_backend_with_it() {
    let (gone, was_gone) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let left = Arc::clone(&was_gone);
    // The first call never gets a head, the second one never an end.
    let upstream = Upstream::start(move |seen, mut stream| {
        let left = Arc::clone(&left);
        async move {
            if seen.number == 1 {
                stream.write_all(STREAM.as_bytes()).await.ok()?;
                stream.write_all(&chunk("data: 1\n\n")).await.ok()?;
            }
            let mut rest = Vec::new();
            // The end of the connection, or its breaking off.
            let _ = stream.read_to_end(&mut rest).await;
            left.notify_one();
            None
        }
    })
    .await;
    drop(gone);
    let proxy = proxy(model(&upstream)).await;
    let mut client = Client::connect(&proxy).await;
    client.send("POST", CHAT, &[], chat().to_string()).await;
    upstream.arrived(1).await;
    assert_eq!(proxy.calls_under_way(), 1);
    drop(client);
    was_gone.notified().await;

    let mut client = Client::connect(&proxy).await;
    client.send("POST", CHAT, &[], chat().to_string()).await;
    client.head().await;
    assert_eq!(client.chunk().await.unwrap(), b"data: 1\n\n");
    drop(client);
    was_gone.notified().await;
    proxy.drain().await.unwrap();
    assert_eq!(upstream.count(), 2);
}

#[tokio::test]
async fn a_backend_that_falls_silent_is_given_up() {
    let silent = |piece: &'static str| {
        Upstream::start(move |_, mut stream| async move {
            stream.write_all(piece.as_bytes()).await.ok()?;
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
            None
        })
    };
    let (short, long) = (Duration::from_millis(500), Duration::from_secs(30));
    // No head, a head without a body, and half a body.
    for (piece, first_byte, between_bytes, status) in [
        ("", short, long, 504),
        ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", short, short, 504),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf",
            long,
            short,
            200,
        ),
    ] {
        let limits = TimeLimits {
            first_byte,
            between_bytes,
            ..TimeLimits::default()
        };
        let upstream = silent(piece).await;
        let proxy = proxy(model(&upstream).time_limits(limits)).await;
        let got = post(&proxy, CHAT, &chat()).await;
        assert_eq!(
            (got.status, got.complete),
            (status, status == 504),
            "{piece}: {}",
            got.text()
        );
        assert_eq!(upstream.count(), 1, "what took too long is not begun again");
        proxy.drain().await.unwrap();
    }
}

#[tokio::test]
async fn the_whole_call_has_a_limit_too() {
    let upstream = Upstream::start(|_, mut stream| async move {
        stream.write_all(STREAM.as_bytes()).await.ok()?;
        loop {
            stream.write_all(&chunk("data: x\n\n")).await.ok()?;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let limits = TimeLimits {
        total: Duration::from_secs(1),
        ..TimeLimits::default()
    };
    let proxy = proxy(model(&upstream).time_limits(limits)).await;
    let got = post(&proxy, CHAT, &chat()).await;
    assert_eq!((got.status, got.complete), (200, false));
}
