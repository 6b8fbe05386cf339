//! Ctrl-C, and the request to end that a service manager sends.

use tokio::sync::watch;

/// Tells how often the process was asked to end, by SIGINT (Ctrl-C) or SIGTERM, since this was made.
///
/// While one of these exists, such a signal does not end the process; it does so again as soon as there is none, and on
/// the third signal.
pub(crate) struct Interrupts {
    asked: watch::Receiver<usize>,
    /// Without it nobody asks.
    _listener: Option<listener::Listener>,
}

impl Interrupts {
    /// Listens to the process's signals. If that is impossible, it says so in the log, and nobody asks.
    pub(crate) fn listen() -> Self {
        let (sender, asked) = watch::channel(0);
        let listener = listener::Listener::new(sender)
            .inspect_err(|error| {
                tracing::warn!(
                    target: "lightning::trainer",
                    error = %error,
                    "the process's signals cannot be listened to, so Ctrl-C ends the process at once"
                );
            })
            .ok();
        Self {
            asked,
            _listener: listener,
        }
    }

    /// Nobody asks.
    pub(crate) fn never() -> Self {
        Self {
            asked: watch::channel(0).1,
            _listener: None,
        }
    }

    /// Resolves when the process has been asked to end so many times. Cancel safe.
    pub(crate) async fn asked(&self, times: usize) {
        let mut asked = self.asked.clone();
        if asked.wait_for(|asked| *asked >= times).await.is_err() {
            // Nobody is left who could ask.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(unix)]
mod listener {
    use std::{
        io,
        sync::{
            Arc, LazyLock, Mutex, MutexGuard, PoisonError,
            atomic::{AtomicBool, Ordering},
        },
        thread::JoinHandle,
    };

    use signal_hook::{
        consts::{SIGINT, SIGTERM},
        flag::register_conditional_default,
        iterator::{Handle, Signals},
    };
    use tokio::sync::watch;

    /// How often a run can be asked, before the process does what it would do without us.
    const PATIENCE: usize = 2;
    const SIGNALS: [i32; 2] = [SIGINT, SIGTERM];

    /// Who listens in this process, and whether signals do what they do without us. Signals belong to the process, so this
    /// does as well: a handler that was once registered stays, and must not swallow what nobody listens to.
    struct Process {
        listening: Mutex<Listening>,
        default: Arc<AtomicBool>,
    }

    #[derive(Default)]
    struct Listening {
        registered: bool,
        listeners: usize,
    }

    static PROCESS: LazyLock<Process> = LazyLock::new(|| Process {
        listening: Mutex::default(),
        default: Arc::new(AtomicBool::new(true)),
    });

    impl Process {
        fn listening(&self) -> MutexGuard<'_, Listening> {
            self.listening.lock().unwrap_or_else(PoisonError::into_inner)
        }

        fn enter(&self) -> io::Result<()> {
            let mut listening = self.listening();
            if !listening.registered {
                for signal in SIGNALS {
                    register_conditional_default(signal, Arc::clone(&self.default))?;
                }
                listening.registered = true;
            }
            listening.listeners += 1;
            self.default.store(false, Ordering::SeqCst);
            Ok(())
        }

        fn leave(&self) {
            let mut listening = self.listening();
            listening.listeners -= 1;
            if listening.listeners == 0 {
                self.default.store(true, Ordering::SeqCst);
            }
        }
    }

    /// A thread that waits for signals and ends with this.
    pub(super) struct Listener {
        handle: Handle,
        thread: Option<JoinHandle<()>>,
    }

    impl Listener {
        pub(super) fn new(asked: watch::Sender<usize>) -> io::Result<Self> {
            // Before the listener: the default looks whether it is wanted before the listener hears of the same signal.
            PROCESS.enter()?;
            Self::start(asked).inspect_err(|_| PROCESS.leave())
        }

        fn start(asked: watch::Sender<usize>) -> io::Result<Self> {
            let mut signals = Signals::new(SIGNALS)?;
            let handle = signals.handle();
            let thread = std::thread::Builder::new()
                .name("lightning-signals".to_owned())
                .spawn(move || {
                    for _ in signals.forever() {
                        asked.send_modify(|asked| *asked += 1);
                        if *asked.borrow() >= PATIENCE {
                            PROCESS.default.store(true, Ordering::SeqCst);
                        }
                    }
                })?;
            Ok(Self {
                handle,
                thread: Some(thread),
            })
        }
    }

    impl Drop for Listener {
        fn drop(&mut self) {
            self.handle.close();
            if let Some(thread) = self.thread.take() {
                // Once closed, it has nothing to wait for. It does not panic, and if it did, nothing would follow.
                let _ = thread.join();
            }
            PROCESS.leave();
        }
    }
}

#[cfg(not(unix))]
mod listener {
    use std::io;

    use tokio::sync::watch;

    /// There are no such signals here.
    pub(super) struct Listener;

    impl Listener {
        pub(super) fn new(_: watch::Sender<usize>) -> io::Result<Self> {
            Err(io::Error::other("this needs Unix signals"))
        }
    }
}
