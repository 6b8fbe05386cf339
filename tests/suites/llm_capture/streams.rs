//! Streams, however they are split and whatever is in them.

use lightning_core::testing::{ProxiedCall, assembled_answer};
use proptest::prelude::*;
use serde_json::Value;

use crate::fixtures::{self, Fixture};

const PATHS: [&str; 5] = [
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/responses",
    "/v1/messages",
];

fn streams() -> Vec<Fixture> {
    fixtures::all().into_iter().filter(Fixture::is_stream).collect()
}

fn pieces<'a>(bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    cuts.sort_unstable();
    let mut pieces = Vec::new();
    let mut from = 0;
    for cut in cuts.into_iter().chain([bytes.len()]) {
        pieces.push(&bytes[from..cut]);
        from = cut;
    }
    pieces
}

#[test]
fn every_byte_alone_gives_the_same() {
    for fixture in streams() {
        let whole = assembled_answer(&fixture.path, [&fixture.response]);
        let bytes = fixture.response.as_bytes().chunks(1);
        assert_eq!(assembled_answer(&fixture.path, bytes), whole, "{}", fixture.name);
        assert_eq!(
            whole.1,
            fixture.expected["problem"].is_null() || fixture.name.contains("vllm-stream"),
            "{}",
            fixture.name
        );
    }
}

/// The same stream with other ends of lines.
#[test]
fn the_ends_of_lines_do_not_matter() {
    for fixture in streams() {
        let lf = fixture.response.replace("\r\n", "\n");
        let whole = assembled_answer(&fixture.path, [&lf]);
        for end in ["\r\n", "\r"] {
            let other = lf.replace('\n', end);
            assert_eq!(
                assembled_answer(&fixture.path, [other]),
                whole,
                "{} with {end:?}",
                fixture.name
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    #[test]
    fn any_split_gives_the_same(which in 0..1000_usize, cuts in prop::collection::vec(any::<usize>(), 0..20)) {
        let streams = streams();
        let fixture = &streams[which % streams.len()];
        let bytes = fixture.response.as_bytes();
        let whole = assembled_answer(&fixture.path, [bytes]);
        prop_assert_eq!(assembled_answer(&fixture.path, pieces(bytes, &cuts)), whole);
    }

    #[test]
    fn garbage_does_no_harm(
        path in prop::sample::select(&PATHS[..]),
        request in prop::collection::vec(any::<u8>(), 0..200),
        response in prop::collection::vec(any::<u8>(), 0..400),
        status in any::<u16>(),
        encoding in prop::sample::select(&["", "gzip", "deflate", "br"][..]),
    ) {
        let call = ProxiedCall::new(path, request, response.clone()).status(status).encoding(encoding);
        prop_assert!(!call.spans("ro-1", "at-1").is_empty());
        assembled_answer(path, [response]);
    }

    /// What was once right, and then damaged: bytes changed, taken out and put in, read as any interface.
    #[test]
    fn damage_does_no_harm(
        which in 0..1000_usize,
        path in prop::sample::select(&PATHS[..]),
        damage in prop::collection::vec((any::<usize>(), any::<u8>(), 0..3_u8), 1..12),
        status in prop::sample::select(&[0_u16, 200, 400, 500][..]),
    ) {
        let all = fixtures::all();
        let fixture = &all[which % all.len()];
        let mut response = fixture.response.clone().into_bytes();
        for (at, byte, kind) in damage {
            let at = at % response.len();
            match kind {
                0 => response[at] = byte,
                1 => { response.remove(at); }
                _ => response.insert(at, byte),
            }
        }
        let call = ProxiedCall::new(path, fixture.request.as_str(), response).status(status);
        prop_assert!(!call.spans("ro-1", "at-1").is_empty());
    }

    /// Events whose values are of any kind: each of the words that mean something, with anything in it.
    #[test]
    fn odd_events_do_no_harm(path in prop::sample::select(&PATHS[..]), events in prop::collection::vec(event(), 0..12)) {
        let stream: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
        let (answer, _) = assembled_answer(path, [&stream]);
        let call = ProxiedCall::new(path, answer.to_string(), stream);
        prop_assert!(!call.spans("ro-1", "at-1").is_empty());
    }
}

fn event() -> impl Strategy<Value = Value> {
    const WORDS: &[&str] = &[
        "type",
        "index",
        "choices",
        "delta",
        "message",
        "content",
        "tool_calls",
        "function",
        "arguments",
        "name",
        "id",
        "usage",
        "error",
        "response",
        "output",
        "output_index",
        "content_index",
        "item",
        "part",
        "logprobs",
        "token_ids",
        "text",
        "content_block",
        "partial_json",
        "prompt_token_ids",
        "finish_reason",
        "messages",
        "input",
        "prompt",
        "tools",
        "system",
    ];
    const KINDS: &[&str] = &[
        "message_start",
        "content_block_start",
        "content_block_delta",
        "message_delta",
        "error",
        "response.completed",
        "response.output_text.delta",
        "response.output_item.added",
        "response.content_part.added",
        "response.function_call_arguments.delta",
        "text",
        "tool_use",
        "function_call",
        "message",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (0..3_u64).prop_map(Value::from),
        prop::sample::select(KINDS).prop_map(Value::from),
        ".{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 60, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(prop::sample::select(WORDS), inner, 1..8).prop_map(|fields| {
                fields
                    .into_iter()
                    .map(|(key, value)| (key.to_owned(), value))
                    .collect()
            }),
        ]
    })
}
