//! Stands in for vLLM, as far as the suite `model_launcher` looks: `vllm_stand_in serve CHECKPOINT --port PORT`, and the ways in
//! which such a server fails:
//!
//! - `--warm-up N`: not ready for the first N who ask;
//! - `--never-ready`, or `--stuck-on CHECKPOINT`: never ready, or not with that one;
//! - `--tell PORT`: connects there, and stays connected as long as it lives;
//! - `--lives FILE N`: ends at once from the start number N + 1 on, with what it says then on standard error;
//! - `--worker`: has a process of its own, as vLLM has for each GPU, which ignores TERM and outlives it.
//!
//! `GET /hold` is never answered: whoever asks sees by the end of the connection that the process has gone. `POST /die` ends it,
//! `GET /worker` is the port of its worker, and everything else is answered with the checkpoint's name.

use std::{
    env,
    fs::OpenOptions,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::{Command, ExitCode, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

/// What the server was told on its command line.
#[derive(Default)]
struct Settings {
    checkpoint: String,
    port: u16,
    warm_up: u64,
    never_ready: bool,
    worker: Option<u16>,
    asked: AtomicU64,
}

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    match arguments.next().as_deref() {
        Some("serve") => {}
        Some("worker") => return be_worker(),
        other => {
            eprintln!("unknown: {other:?}");
            return ExitCode::from(2);
        }
    }
    let mut settings = Settings {
        checkpoint: arguments.next().expect("a checkpoint"),
        ..Settings::default()
    };
    while let Some(argument) = arguments.next() {
        let mut next = || arguments.next().expect("a value");
        match argument.as_str() {
            "--port" => settings.port = next().parse().expect("a port"),
            "--warm-up" => settings.warm_up = next().parse().expect("a number"),
            "--never-ready" => settings.never_ready = true,
            "--stuck-on" => settings.never_ready |= settings.checkpoint == next(),
            "--tell" => {
                let told = TcpStream::connect(("127.0.0.1", next().parse().expect("a port")));
                // It ends with the process.
                std::mem::forget(told.expect("somebody listens"));
            }
            "--worker" => settings.worker = Some(start_worker()),
            "--lives" => {
                let (file, most) = (next(), next().parse::<u64>().expect("a number"));
                let mut file = OpenOptions::new()
                    .create(true)
                    .append(true)
                    .open(file)
                    .expect("a file");
                file.write_all(b".").expect("written");
                if file.metadata().expect("its size").len() > most {
                    println!("loading {}", settings.checkpoint);
                    eprintln!(
                        "Traceback (most recent call last):\ntorch.OutOfMemoryError: CUDA out of memory"
                    );
                    return ExitCode::from(3);
                }
            }
            other => {
                eprintln!("unknown: {other}");
                return ExitCode::from(2);
            }
        }
    }
    let listener = TcpListener::bind(("127.0.0.1", settings.port)).expect("the port is free");
    println!("serving {} on port {}", settings.checkpoint, settings.port);
    let settings = Arc::new(settings);
    for stream in listener.incoming() {
        let (settings, stream) = (Arc::clone(&settings), stream.expect("a connection"));
        thread::spawn(move || answer(&settings, stream));
    }
    ExitCode::SUCCESS
}

/// Answers one request.
fn answer(settings: &Settings, mut stream: TcpStream) {
    let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
    let (mut first, mut line, mut length) = (String::new(), String::new(), 0);
    if reader.read_line(&mut first).unwrap_or(0) == 0 {
        return;
    }
    while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap_or(0);
        }
        line.clear();
    }
    let mut body = vec![0; length];
    if reader.read_exact(&mut body).is_err() {
        return;
    }
    let asked = settings.asked.load(Ordering::Relaxed);
    let path = first.split(' ').nth(1).unwrap_or_default();
    let (status, body) = match path {
        "/health" | "/ready" => {
            settings.asked.fetch_add(1, Ordering::Relaxed);
            let ready = !settings.never_ready && asked >= settings.warm_up;
            (
                if ready {
                    "200 OK"
                } else {
                    "503 Service Unavailable"
                },
                String::new(),
            )
        }
        "/die" => std::process::exit(9),
        "/worker" => ("200 OK", settings.worker.unwrap_or(0).to_string()),
        "/environment" => ("200 OK", env::var("CHECKPOINT").unwrap_or_default()),
        "/hold" => {
            // Whoever asked is told that it was heard.
            let _ = stream.write_all(b"h");
            let _ = reader.read(&mut [0]);
            return;
        }
        _ => {
            let content = &settings.checkpoint;
            let message = format!(r#"{{"role": "assistant", "content": "{content}"}}"#);
            let choice = format!(r#"{{"index": 0, "finish_reason": "stop", "message": {message}}}"#);
            (
                "200 OK",
                format!(
                    r#"{{"id": "1", "object": "chat.completion", "model": "policy", "choices": [{choice}]}}"#
                ),
            )
        }
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}",
        body.len()
    );
    let _ = write!(stream, "{head}\r\nConnection: close\r\n\r\n{body}");
}

/// Starts the worker; its port. TERM is ignored from the beginning, since it is ignored by who starts it.
#[expect(
    clippy::zombie_processes,
    reason = "it is to be left behind, unless whoever ends this ends it too"
)]
fn start_worker() -> u16 {
    let mut worker = Command::new("/bin/sh")
        .args(["-c", "trap '' TERM; exec \"$0\" worker"])
        .arg(env::current_exe().expect("this program"))
        .stdout(Stdio::piped())
        .spawn()
        .expect("a worker");
    let mut line = String::new();
    BufReader::new(worker.stdout.as_mut().expect("its output"))
        .read_line(&mut line)
        .expect("its port");
    line.trim().parse().expect("a port")
}

fn be_worker() -> ExitCode {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    println!("{}", listener.local_addr().expect("its address").port());
    let settings = Arc::new(Settings::default());
    for stream in listener.incoming() {
        let (settings, stream) = (Arc::clone(&settings), stream.expect("a connection"));
        thread::spawn(move || answer(&settings, stream));
    }
    ExitCode::SUCCESS
}
