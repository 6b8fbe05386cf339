//! Models in folders, and whether they compute what they should.

use std::{fs, path::Path};

use lightning_core::lm::{
    Checkpoint, Extension, LanguageModel as _, LmError, ModelConfig, Sequence, Tokenizer, Training,
};
use lightning_tests::scratch::Scratch;
use serde_json::{Value, json};

fn golden() -> Vec<Value> {
    let text = include_str!("../../golden/llama_logits.json");
    let golden: Value = serde_json::from_str(text).unwrap();
    golden["cases"].as_array().unwrap().clone()
}

/// Names and shapes of the weights, written down a second time.
fn shapes(config: &Value) -> Vec<(String, Vec<usize>)> {
    let size = |field: &str| usize::try_from(config[field].as_u64().unwrap()).unwrap();
    let (width, inner) = (size("hidden_size"), size("intermediate_size"));
    let asking = size("num_attention_heads") * size("head_dim");
    let asked = size("num_key_value_heads") * size("head_dim");
    let mut shapes = vec![(
        "model.embed_tokens.weight".to_owned(),
        vec![size("vocab_size"), width],
    )];
    for layer in 0..size("num_hidden_layers") {
        for (name, shape) in [
            ("input_layernorm", vec![width]),
            ("self_attn.q_proj", vec![asking, width]),
            ("self_attn.k_proj", vec![asked, width]),
            ("self_attn.v_proj", vec![asked, width]),
            ("self_attn.o_proj", vec![width, asking]),
            ("post_attention_layernorm", vec![width]),
            ("mlp.gate_proj", vec![inner, width]),
            ("mlp.up_proj", vec![inner, width]),
            ("mlp.down_proj", vec![width, inner]),
        ] {
            shapes.push((format!("model.layers.{layer}.{name}.weight"), shape));
        }
    }
    shapes.push(("model.norm.weight".to_owned(), vec![width]));
    if config["tie_word_embeddings"] == false {
        shapes.push(("lm_head.weight".to_owned(), vec![size("vocab_size"), width]));
    }
    shapes
}

/// The numbers that `tests/scripts/llama_golden.py` has.
fn numbers(tensor: usize, shape: &[usize]) -> Vec<f32> {
    let wave = |index: usize| (1.3 * index as f64 + 0.7 * tensor as f64).sin();
    let count = shape.iter().product();
    (0..count)
        .map(|index| match shape.len() {
            1 => (1.0 + 0.2 * wave(index)) as f32,
            _ => (0.6 * wave(index)) as f32,
        })
        .collect()
}

/// How the numbers of a file are written.
#[derive(Clone, Copy)]
enum Width {
    F32,
    Bf16,
}

/// A file in the format of safetensors, written by hand.
fn write(path: &Path, tensors: &[(String, Vec<usize>, Vec<f32>)], width: Width) {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    header.insert("__metadata__".to_owned(), json!({"format": "pt"}));
    for (name, shape, numbers) in tensors {
        let start = data.len();
        for number in numbers {
            match width {
                Width::F32 => data.extend(number.to_le_bytes()),
                Width::Bf16 => data.extend(&number.to_le_bytes()[2..]),
            }
        }
        let dtype = if matches!(width, Width::F32) {
            "F32"
        } else {
            "BF16"
        };
        let entry = json!({"dtype": dtype, "shape": shape, "data_offsets": [start, data.len()]});
        header.insert(name.clone(), entry);
    }
    let header = serde_json::to_vec(&header).unwrap();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header);
    file.extend(data);
    fs::write(path, file).unwrap();
}

/// A checkpoint as `transformers` writes it.
fn write_checkpoint(folder: &Path, config: &Value, width: Width, files: usize) {
    fs::create_dir_all(folder).unwrap();
    let mut full = config.clone();
    full["model_type"] = json!("llama");
    full["architectures"] = json!(["LlamaForCausalLM"]);
    full["rope_scaling"] = Value::Null;
    full["hidden_act"] = json!("silu");
    fs::write(folder.join("config.json"), full.to_string()).unwrap();
    let tensors: Vec<_> = shapes(config)
        .into_iter()
        .enumerate()
        .map(|(number, (name, shape))| {
            let numbers = numbers(number, &shape);
            (name, shape, numbers)
        })
        .collect();
    if files == 1 {
        write(&folder.join("model.safetensors"), &tensors, width);
        return;
    }
    let mut map = serde_json::Map::new();
    for (part, tensors) in tensors.chunks(tensors.len().div_ceil(files)).enumerate() {
        let name = format!("model-{part:05}.safetensors");
        write(&folder.join(&name), tensors, width);
        map.extend(tensors.iter().map(|(tensor, ..)| (tensor.clone(), json!(name))));
    }
    let index = json!({"metadata": {}, "weight_map": map});
    fs::write(folder.join("model.safetensors.index.json"), index.to_string()).unwrap();
}

/// A tokenizer without merges, so that a model of any vocabulary can be loaded.
fn write_tokenizer(folder: &Path, words: &[&str]) {
    let vocabulary: serde_json::Map<String, Value> = words
        .iter()
        .enumerate()
        .map(|(id, word)| ((*word).to_owned(), json!(id)))
        .collect();
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [
            {"id": 0, "content": words[0], "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
             "special": true}
        ],
        "normalizer": null, "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": words[1]},
    });
    fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
}

/// The logits after each token, asked for in portions of these sizes.
fn logits(checkpoint: &Checkpoint, tokens: &[u32], portions: &[usize]) -> Vec<Vec<f32>> {
    let mut sequence = Sequence::new();
    let (mut rows, mut rest) = (Vec::new(), tokens);
    for size in portions {
        let (now, later) = rest.split_at(*size);
        rest = later;
        let work = &mut [Extension {
            sequence: &mut sequence,
            tokens: now,
        }];
        rows.extend(checkpoint.model.extend(work).unwrap());
    }
    assert!(rest.is_empty());
    rows
}

fn distance(a: &[f32], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| (f64::from(*a) - b).abs())
        .fold(0.0, f64::max)
}

#[test]
fn logits_are_those_of_numpy() {
    for (number, case) in golden().iter().enumerate() {
        for (width, files, within) in [
            (Width::F32, 1, 2e-5),
            (Width::F32, 3, 2e-5),
            (Width::Bf16, 2, 0.5),
        ] {
            let folder = Scratch::fast();
            let path = folder.path("model");
            write_checkpoint(&path, &case["config"], width, files);
            write_tokenizer(&path, &["<end>", "<unknown>"]);
            let checkpoint = Checkpoint::load(&path).unwrap();
            let tokens: Vec<u32> = serde_json::from_value(case["tokens"].clone()).unwrap();
            let expected: Vec<Vec<f64>> = serde_json::from_value(case["logits"].clone()).unwrap();
            let one_by_one = logits(&checkpoint, &tokens, &[1; 11]);
            for (place, (ours, theirs)) in one_by_one.iter().zip(&expected).enumerate() {
                let distance = distance(ours, theirs);
                assert!(distance < within, "case {number}, token {place}: {distance}");
            }
            for portions in [&[11][..], &[4, 7], &[1, 9, 1]] {
                let last = logits(&checkpoint, &tokens, portions).pop().unwrap();
                assert!(
                    distance(&last, &expected[10]) < within,
                    "case {number}: {portions:?}"
                );
            }
        }
    }
}

fn small() -> Checkpoint {
    let config = ModelConfig::small(261, 16, 2, 2).context(32);
    Checkpoint::of_bytes(Training::from_scratch(config, 4).unwrap().model().unwrap())
}

#[test]
fn a_checkpoint_is_read_back_as_it_was_written_and_replaced_whole() {
    let folder = Scratch::fast();
    let path = folder.path("deep/model");
    let (first, other) = (small(), {
        let config = ModelConfig::small(300, 8, 1, 1);
        Checkpoint::of_bytes(Training::from_scratch(config, 1).unwrap().model().unwrap())
    });
    other.save(&path).unwrap();
    first.save(&path).unwrap();
    let read = Checkpoint::load(&path).unwrap();
    assert_eq!(read.model.config(), first.model.config());
    assert!(matches!(read.tokenizer, Tokenizer::Bytes));
    let tokens = [104, 105, 256];
    assert_eq!(logits(&read, &tokens, &[3]), logits(&first, &tokens, &[3]));
    let names = |path: &Path| {
        let mut names: Vec<String> = fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(&path), ["config.json", "model.safetensors"]);
    assert_eq!(
        names(path.parent().unwrap()),
        ["model"],
        "nothing is left beside it"
    );
}

#[test]
fn the_tokenizer_of_a_checkpoint_goes_with_it() {
    let folder = Scratch::fast();
    let case = &golden()[0];
    let path = folder.path("model");
    write_checkpoint(&path, &case["config"], Width::F32, 1);
    write_tokenizer(&path, &["<end>", "<unknown>", "two", "plus", "four"]);
    let settings =
        json!({"eos_token": "<end>", "chat_template": "{% for m in messages %}{{ m.content }} {% endfor %}"});
    fs::write(path.join("tokenizer_config.json"), settings.to_string()).unwrap();
    let copy = folder.path("copy");
    Checkpoint::load(&path).unwrap().save(&copy).unwrap();
    let read = Checkpoint::load(&copy).unwrap();
    let messages = [json!({"role": "user", "content": "two plus  four ?"})];
    let prompt = read
        .template
        .prompt(&read.tokenizer, &messages, &Value::Null)
        .unwrap();
    assert_eq!(prompt, [2, 3, 4, 1]);
    assert_eq!(read.tokenizer.decode(&[2, 3, 4, 0]).unwrap(), "two plus four");
    assert_eq!(
        (read.tokenizer.name(0), read.tokenizer.id("plus")),
        ("<end>".to_owned(), Some(3))
    );
    // More words than the model has tokens.
    let words: Vec<String> = (0..24).map(|n| format!("w{n}")).collect();
    write_tokenizer(&copy, &words.iter().map(String::as_str).collect::<Vec<_>>());
    let error = Checkpoint::load(&copy).unwrap_err();
    assert!(
        matches!(
            error,
            LmError::Unsupported {
                field: "vocab_size",
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn what_is_damaged_is_refused_with_its_name() {
    let refused = |damage: &dyn Fn(&Path), needle: &str| {
        let folder = Scratch::fast();
        let path = folder.path("model");
        small().save(&path).unwrap();
        damage(&path);
        let error = Checkpoint::load(&path).unwrap_err().to_string();
        assert!(error.contains(needle), "{needle}: {error}");
    };
    let weights = |path: &Path| path.join("model.safetensors");
    refused(&|path| fs::remove_dir_all(path).unwrap(), "config.json");
    refused(
        &|path| fs::write(path.join("config.json"), "{").unwrap(),
        "config.json",
    );
    refused(
        &|path| fs::write(path.join("config.json"), "[]").unwrap(),
        "model_type",
    );
    refused(
        &|path| fs::remove_file(weights(path)).unwrap(),
        "model.safetensors",
    );
    refused(&|path| fs::write(weights(path), []).unwrap(), "model.safetensors");
    refused(
        &|path| fs::write(weights(path), [0xff; 64]).unwrap(),
        "model.safetensors",
    );
    refused(
        &|path| {
            let bytes = fs::read(weights(path)).unwrap();
            fs::write(weights(path), &bytes[..bytes.len() - 9]).unwrap();
        },
        "model.safetensors",
    );
    refused(
        &|path| {
            write(
                &weights(path),
                &[("model.norm.weight".to_owned(), vec![16], vec![1.0; 16])],
                Width::F32,
            );
        },
        "`model.embed_tokens.weight` is missing",
    );
    refused(
        &|path| {
            let config = small().model.config().clone();
            let mut config: Value = config.to_json();
            config["intermediate_size"] = json!(41);
            fs::write(path.join("config.json"), config.to_string()).unwrap();
        },
        "has the shape",
    );
    refused(
        &|path| {
            let index = json!({"weight_map": {"model.norm.weight": "../model.safetensors"}});
            fs::write(path.join("model.safetensors.index.json"), index.to_string()).unwrap();
        },
        "is no name of a file",
    );
    refused(
        &|path| fs::write(path.join("tokenizer.json"), "{}").unwrap(),
        "tokenizer.json",
    );
}

#[test]
fn what_does_not_fit_is_refused() {
    let checkpoint = small();
    let extend = |tokens: &[u32]| {
        let work = &mut [Extension {
            sequence: &mut Sequence::new(),
            tokens,
        }];
        checkpoint.model.extend(work)
    };
    assert!(matches!(
        extend(&[1; 33]),
        Err(LmError::TooLong {
            tokens: 33,
            limit: 32
        })
    ));
    assert!(matches!(
        extend(&[261]),
        Err(LmError::UnknownToken { token: 261, .. })
    ));
    assert_eq!(extend(&[1; 32]).unwrap()[0].len(), 261);
    assert!(checkpoint.model.extend(&mut []).unwrap().is_empty());
}

/// What a sequence gets is the same to the last bit, whoever else is under way and however many.
#[test]
fn sequences_do_not_touch_each_other() {
    for (width, heads, asked) in [(48, 4, 4), (16, 4, 1), (96, 2, 1)] {
        let config = ModelConfig::small(261, width, 2, heads)
            .key_value_heads(asked)
            .context(64);
        let model = Training::from_scratch(config, 4).unwrap().model().unwrap();
        let text = |seed: u32, length: u32| {
            (0..length)
                .map(|n| (seed * 31 + n * n * 7) % 256)
                .collect::<Vec<u32>>()
        };
        let run = |others: u32, prompts: u32| {
            let mut sequences: Vec<Sequence> = (0..=others).map(|_| Sequence::new()).collect();
            let mut of_first = Vec::new();
            for step in 0..4 {
                let parts: Vec<Vec<u32>> = (0..=others)
                    .map(|number| text(number + step, if step == 0 { 5 + number * prompts } else { 1 }))
                    .collect();
                let mut work: Vec<Extension<'_>> = sequences
                    .iter_mut()
                    .zip(&parts)
                    .map(|(sequence, tokens)| Extension { sequence, tokens })
                    .collect();
                of_first.push(model.extend(&mut work).unwrap().swap_remove(0));
            }
            of_first
        };
        let alone = run(0, 0);
        for (others, prompts) in [(1, 0), (2, 3), (3, 1), (6, 2), (7, 5), (12, 1), (40, 1)] {
            assert!(alone == run(others, prompts), "width {width}, beside {others}");
        }
    }
}
