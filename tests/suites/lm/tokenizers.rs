//! A `tokenizer.json` of the kind that most models have: pieces of UTF-8, merged by rank.

use std::path::Path;

use lightning_core::lm::{TextStream, Tokenizer};
use lightning_tests::{scratch::Scratch, tier};
use serde_json::{Value, json};

/// The characters that stand for bytes in such a file: printable ones for themselves, the others from 256 on.
fn letter(byte: u8) -> char {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    if printable(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|other| !printable(*other)).count();
    char::from_u32(256 + before as u32).unwrap()
}

/// All bytes, three merges, and a token that marks an end.
fn write(path: &Path) {
    let mut vocabulary = serde_json::Map::new();
    for byte in 0..=255 {
        vocabulary.insert(letter(byte).to_string(), json!(byte));
    }
    let merges = [("l", "l"), ("e", "ll"), ("Ġ", "w")];
    for (rank, (left, right)) in merges.iter().enumerate() {
        vocabulary.insert(format!("{left}{right}"), json!(256 + rank));
    }
    let bytes = |add_prefix_space: bool| json!({"type": "ByteLevel", "add_prefix_space": add_prefix_space, "trim_offsets": true, "use_regex": true});
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [{
            "id": 259, "content": "<|end|>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
            "special": true,
        }],
        "normalizer": null, "pre_tokenizer": bytes(false), "post_processor": null, "decoder": bytes(true),
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": vocabulary,
            "merges": merges.map(|(left, right)| [left, right]),
        },
    });
    std::fs::write(path, tokenizer.to_string()).unwrap();
}

const TEXTS: [&str; 5] = ["hello world", "añ 漢字 🦀\n", "", "  two  spaces ", "<|end|>"];

#[test]
fn pieces_are_merged_and_streamed_whole() {
    let folder = Scratch::fast();
    let path = folder.path("tokenizer.json");
    write(&path);
    let tokenizer = Tokenizer::from_file(&path).unwrap();
    let encode = |text: &str| tokenizer.encode(text, true).unwrap();
    let word = |text: &str| text.bytes().map(u32::from).collect::<Vec<u32>>();
    assert_eq!(
        encode("hello world"),
        [word("h"), vec![257], word("o"), vec![258], word("orld")].concat()
    );
    assert_eq!(encode("<|end|>"), [259]);
    assert_eq!(
        (tokenizer.name(259), tokenizer.id("<|end|>")),
        ("<|end|>".to_owned(), Some(259))
    );
    for text in &TEXTS[..4] {
        let tokens = encode(text);
        assert_eq!(&tokenizer.decode(&tokens).unwrap(), text);
        let mut stream = TextStream::default();
        let mut pieces: Vec<String> = Vec::new();
        for token in tokens {
            pieces.push(stream.push(&tokenizer, token).unwrap());
        }
        pieces.push(stream.finish(&tokenizer).unwrap());
        assert!(
            pieces.iter().all(|piece| !piece.contains('\u{fffd}')),
            "{pieces:?}"
        );
        assert_eq!(&pieces.concat(), text);
    }
}

/// Python's `tokenizers` reads the same file in the same way.
#[test]
fn python_makes_the_same_tokens_of_it() {
    let Some(python) = tier::python() else { return };
    let folder = Scratch::fast();
    let path = folder.path("tokenizer.json");
    write(&path);
    let program = "import json, sys; from tokenizers import Tokenizer; t = Tokenizer.from_file(sys.argv[1]); \
                   print(json.dumps([t.encode(text).ids for text in json.loads(sys.argv[2])]))";
    let mut command = python.command();
    let output = command
        .args(["-c", program])
        .arg(&path)
        .arg(json!(TEXTS).to_string())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let theirs: Value = serde_json::from_slice(&output.stdout).unwrap();
    let ours = Tokenizer::from_file(&path).unwrap();
    let ours = TEXTS.map(|text| ours.encode(text, true).unwrap());
    assert_eq!(theirs, json!(ours));
}
