//! How fast `lm` trains, beside PyTorch on the same weights, batches and steps.
//!
//! `just bench-training PYTHON` with an interpreter that has `torch`. First both train from the same weights, and their losses
//! have to agree; then they take turns, and the medians are told. Both get two threads. Processor time says more than the
//! clock's where others use the machine, too.

use std::{
    env, fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    time::Instant,
};

use lightning_core::lm::{
    Batch, ByteTokenizer, Checkpoint, ModelConfig, Optimiser, Sample, Training, Transformer, pack,
};
use serde_json::{Value, json};

const STEPS: usize = 100;
const ROUNDS: usize = 7;
/// By how much losses may differ.
const WITHIN: f64 = 1e-3;

fn main() {
    // What the arithmetic is spread over, in this process and in the other.
    if env::var("RAYON_NUM_THREADS").as_deref() != Ok("2") {
        let again = Command::new(env::current_exe().expect("this program"))
            .args(env::args_os().skip(1))
            .env("RAYON_NUM_THREADS", "2")
            .env("OMP_NUM_THREADS", "2")
            .status();
        std::process::exit(again.expect("it starts").code().unwrap_or(1));
    }
    let arguments: Vec<String> = env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let python = arguments.first().cloned();
    for (name, width, layers, row_tokens, shortest, longest) in [
        ("sums: samples of 12 to 24 tokens", 128, 4, 128, 12, 24),
        ("texts: samples of 120 to 128 tokens", 128, 4, 128, 120, 128),
    ] {
        let config = ModelConfig::small(ByteTokenizer::VOCABULARY, width, layers, 4).context(row_tokens);
        let batches = batches(row_tokens, shortest, longest);
        let tokens: usize = batches.iter().map(Batch::tokens).sum();
        println!(
            "\n{name}; {} numbers, {} tokens in a batch",
            config.parameters(),
            tokens / STEPS
        );
        let model = Training::from_scratch(config, 1)
            .expect("a model")
            .model()
            .expect("its weights");
        compare(&model, &batches, tokens as f64, python.as_deref());
    }
}

/// A batch for each step, of texts that can be learnt.
fn batches(row_tokens: usize, shortest: usize, longest: usize) -> Vec<Batch> {
    let (mut samples, mut batches) = (Vec::new(), Vec::new());
    let mut state = 1u64;
    let mut random = |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    while batches.len() < STEPS {
        let length = shortest + random(longest - shortest + 1);
        let (step, mut digit) = (1 + random(4), random(10));
        let text: Vec<u32> = (0..length)
            .map(|_| {
                digit = (digit + step) % 10;
                u32::from(b'0') + digit as u32
            })
            .collect();
        samples.push(Sample::new(&text[..length / 3], &text[length / 3..]));
        if samples.len().is_multiple_of(160) {
            batches = pack(&samples, 16, row_tokens).expect("they fit");
            // The last one is not full.
            batches.pop();
        }
    }
    batches.truncate(STEPS);
    batches
}

/// What a training took.
struct Took {
    losses: Vec<f64>,
    seconds: f64,
    cpu: f64,
}

fn ours(model: &Transformer, batches: &[Batch]) -> Took {
    let optimiser = Optimiser::default();
    let mut training = Training::of(model).expect("its weights");
    let (began, before) = (Instant::now(), processor_time());
    let losses = batches.iter().zip(0..).map(|(batch, step)| {
        let rate = optimiser.rate(step, STEPS as u64);
        training.step(batch, rate, &optimiser).expect("a step").0
    });
    let losses = losses.collect();
    Took {
        losses,
        seconds: began.elapsed().as_secs_f64(),
        cpu: processor_time() - before,
    }
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

/// PyTorch, which trains whenever it is told to.
struct Torch {
    process: Child,
    answers: BufReader<ChildStdout>,
}

impl Torch {
    fn start(python: &str, folder: &Path) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/train_torch.py");
        let mut process = Command::new(python)
            .arg(script)
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python starts");
        let answers = BufReader::new(process.stdout.take().expect("its output"));
        Self { process, answers }
    }

    fn train(&mut self) -> Took {
        let input = self.process.stdin.as_mut().expect("its input");
        input.write_all(b"train\n").expect("it listens");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("it answers");
        let answer: Value = serde_json::from_str(&line).expect("JSON");
        Took {
            losses: serde_json::from_value(answer["losses"].clone()).expect("losses"),
            seconds: answer["seconds"].as_f64().expect("seconds"),
            cpu: answer["cpu"].as_f64().expect("processor time"),
        }
    }
}

fn compare(model: &Transformer, batches: &[Batch], tokens: f64, python: Option<&str>) {
    let folder = Folder::new();
    Checkpoint::of_bytes(model.clone())
        .save(folder.0.join("model"))
        .expect("written");
    let optimiser = Optimiser::default();
    let rates: Vec<f64> = (0..STEPS as u64)
        .map(|step| optimiser.rate(step, STEPS as u64))
        .collect();
    let work = json!({"batches": batches, "rates": rates, "optimiser": optimiser});
    fs::write(folder.0.join("work.json"), work.to_string()).expect("written");
    let mut torch = python.map(|python| Torch::start(python, &folder.0));
    // The first ones warm up, and are what is compared.
    let first = ours(model, batches);
    println!(
        "loss: {:.4} at first, {:.4} at last",
        first.losses[0],
        first.losses[STEPS - 1]
    );
    if let Some(torch) = &mut torch {
        let theirs = torch.train();
        let apart = first
            .losses
            .iter()
            .zip(&theirs.losses)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f64::max);
        println!("largest difference between the losses of {STEPS} steps: {apart:.1e}");
        assert!(apart < WITHIN, "they do not compute the same");
        assert_eq!(theirs.losses.len(), STEPS);
    }
    let (mut our, mut their) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        our.push(ours(model, batches));
        their.extend(torch.as_mut().map(Torch::train));
    }
    let say = |name: &str, took: &[Took]| {
        let by_clock = median(took.iter().map(|took| tokens / took.seconds));
        let by_cpu = median(took.iter().map(|took| tokens / took.cpu));
        println!("{name:<10} {by_clock:>9.0} tokens/s, {by_cpu:>9.0} for a second of processor time");
        (by_clock, by_cpu)
    };
    let ours = say("lm", &our);
    if torch.is_some() {
        let theirs = say("PyTorch", &their);
        println!(
            "lm ÷ PyTorch: {:.2} by the clock, {:.2} by processor time",
            ours.0 / theirs.0,
            ours.1 / theirs.1
        );
    }
    if let Some(mut torch) = torch {
        // It ends with its input.
        drop(torch.process.stdin.take());
        let _ = torch.process.wait();
    }
}

fn median(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut numbers: Vec<f64> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// A folder that goes with this.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let folder = env::temp_dir().join(format!("lightning-training-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
