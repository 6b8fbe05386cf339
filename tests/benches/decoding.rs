//! How fast the small model writes: through the engine, alone and 32 requests at once, beside naive loops.
//!
//! `just bench-decoding`. The same 32 requests are answered in three ways, in turn, and the median is told:
//!
//! - *naive*: one request after the other; for each token the model reads the whole text again;
//! - *with memory*: one request after the other, and the model remembers keys and values;
//! - *engine*: as the model server does it, one request at a time or 32 in parallel.

use std::{fs, sync::Arc, time::Instant};

use lightning_core::lm::{
    ByteTokenizer, Checkpoint, Engine, EngineOptions, Extension, GenerateRequest, LanguageModel as _,
    ModelConfig, Sequence, Served, Training, Transformer,
};

const REQUESTS: usize = 32;
const PROMPT: usize = 32;
const WRITTEN: usize = 64;
const ROUNDS: usize = 7;

/// Answers all requests, in one way.
type Way<'a> = dyn Fn() -> Vec<Vec<u32>> + 'a;

fn main() {
    let config = ModelConfig::small(ByteTokenizer::VOCABULARY, 128, 4, 4).context(256);
    println!(
        "{} numbers; {REQUESTS} requests, prompts of {PROMPT} tokens, {WRITTEN} written",
        config.parameters()
    );
    let model = Training::from_scratch(config, 1)
        .expect("a model")
        .model()
        .expect("its weights");
    let served = Served::new(Checkpoint::of_bytes(model.clone()), "1");
    let engine = Arc::new(Engine::start(served, EngineOptions::default()).expect("a thread"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let ways: [(&str, Box<Way<'_>>); 4] = [
        (
            "naive",
            Box::new(|| (0..REQUESTS).map(|number| naive(&model, number)).collect()),
        ),
        (
            "with memory",
            Box::new(|| (0..REQUESTS).map(|number| remembering(&model, number)).collect()),
        ),
        (
            "engine, 1 at once",
            Box::new(|| {
                (0..REQUESTS)
                    .map(|number| runtime.block_on(ask(&engine, number)))
                    .collect()
            }),
        ),
        (
            "engine, 32 at once",
            Box::new(|| {
                let all = (0..REQUESTS).map(|number| ask(&engine, number));
                runtime.block_on(futures::future::join_all(all))
            }),
        ),
    ];
    let mut took = vec![Vec::new(); ways.len()];
    let mut written: Option<Vec<Vec<u32>>> = None;
    for round in 0..=ROUNDS {
        for ((name, way), took) in ways.iter().zip(&mut took) {
            let (began, before) = (Instant::now(), processor_time());
            let texts = way();
            let (seconds, cpu) = (began.elapsed().as_secs_f64(), processor_time() - before);
            let same = written.get_or_insert_with(|| texts.clone()) == &texts;
            assert!(same, "{name} writes something else");
            // The first round warms up.
            if round > 0 {
                took.push((seconds, cpu));
            }
        }
    }
    let tokens = (REQUESTS * WRITTEN) as f64;
    let rate = |took: &[(f64, f64)], of: fn(&(f64, f64)) -> f64| {
        let mut rates: Vec<f64> = took.iter().map(|took| tokens / of(took)).collect();
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    };
    let naive = (rate(&took[0], |took| took.0), rate(&took[0], |took| took.1));
    for ((name, _), took) in ways.iter().zip(&took) {
        let (clock, cpu) = (rate(took, |took| took.0), rate(took, |took| took.1));
        println!(
            "{name:<18} {clock:>8.0} tokens/s ({:>5.1} × naive), {cpu:>8.0} for a second of processor time ({:>5.1} ×)",
            clock / naive.0,
            cpu / naive.1
        );
    }
}

fn prompt(number: usize) -> Vec<u32> {
    (0..PROMPT)
        .map(|at| (97 + (at * (number + 3)) % 26) as u32)
        .collect()
}

fn likeliest(logits: &[f32]) -> u32 {
    let best = |best: usize, at: usize| if logits[at] > logits[best] { at } else { best };
    (0..logits.len()).fold(0, best) as u32
}

fn naive(model: &Transformer, number: usize) -> Vec<u32> {
    let mut text = prompt(number);
    for _ in 0..WRITTEN {
        let mut sequence = Sequence::new();
        let work = &mut [Extension {
            sequence: &mut sequence,
            tokens: &text,
        }];
        let logits = model.extend(work).expect("logits").remove(0);
        text.push(likeliest(&logits));
    }
    text.split_off(PROMPT)
}

fn remembering(model: &Transformer, number: usize) -> Vec<u32> {
    let (mut sequence, mut next, mut text) = (Sequence::new(), prompt(number), Vec::new());
    while text.len() < WRITTEN {
        let work = &mut [Extension {
            sequence: &mut sequence,
            tokens: &next,
        }];
        let logits = model.extend(work).expect("logits").remove(0);
        next = vec![likeliest(&logits)];
        text.extend(&next);
    }
    text
}

async fn ask(engine: &Engine, number: usize) -> Vec<u32> {
    let mut request = GenerateRequest::new(prompt(number));
    (request.temperature, request.max_tokens, request.ignore_end) = (0.0, Some(WRITTEN), true);
    let generation = engine.submit(&engine.served(), request).expect("there is room");
    let answer = generation.complete().await.expect("an answer");
    answer.tokens.iter().map(|token| token.token).collect()
}

/// The processor time of this process, in seconds.
fn processor_time() -> f64 {
    let tasks = fs::read_dir("/proc/self/task").expect("Linux");
    let nanoseconds = tasks.map(|task| {
        let path = task.expect("a thread").path().join("schedstat");
        let text = fs::read_to_string(path).unwrap_or_default();
        text.split(' ')
            .next()
            .and_then(|first| first.parse::<f64>().ok())
            .unwrap_or(0.0)
    });
    nanoseconds.sum::<f64>() / 1e9
}
