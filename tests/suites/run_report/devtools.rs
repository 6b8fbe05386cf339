//! A browser that is driven by its own protocol, DevTools, over a pipe.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::Duration,
};

use lightning_tests::{scratch::Scratch, tier::Chromium};
use serde_json::{Value, json};

/// After this the browser is ended, and with it the test.
const PATIENCE: Duration = Duration::from_secs(600);

/// A page in a browser of its own.
pub struct Page {
    child: Arc<Mutex<Child>>,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    _done: mpsc::Sender<()>,
    _profile: Scratch,
    session: String,
    next: u64,
    /// What the browser told by itself.
    pub events: Vec<Value>,
}

impl Page {
    /// Starts a browser and opens the file in it.
    pub fn open(browser: &Chromium, file: &Path) -> Self {
        let profile = Scratch::on_disk();
        // The protocol's pipe is on the descriptors 3 and 4; what the browser logs is nobody's.
        let mut command = Command::new("sh");
        command
            .args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1"])
            .arg(browser.program())
            .args([
                "--headless",
                "--remote-debugging-pipe",
                // Containers have no user namespaces of their own, and root none at all.
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--disable-background-networking",
                "--no-first-run",
                "--window-size=900,1200",
            ])
            .arg(format!("--user-data-dir={}", profile.path("profile").display()))
            .arg("about:blank")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (to, from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let child = Arc::new(Mutex::new(child));
        let (done, ended) = mpsc::channel::<()>();
        let watched = Arc::clone(&child);
        // Turns a hang into a failure: reading from a browser that was ended fails.
        std::thread::spawn(move || {
            if ended.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
                let _ = watched.lock().unwrap().kill();
            }
        });
        let mut page = Self {
            child,
            to,
            from: BufReader::new(from),
            _done: done,
            _profile: profile,
            session: String::new(),
            next: 0,
            events: Vec::new(),
        };
        let made = page.ask("Target.createTarget", json!({"url": "about:blank"}));
        let session = json!({"targetId": made["targetId"], "flatten": true});
        let attached = page.ask("Target.attachToTarget", session);
        page.session = attached["sessionId"].as_str().unwrap().to_owned();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            page.ask(&format!("{domain}.enable"), json!({}));
        }
        page.ask("Page.setLifecycleEventsEnabled", json!({"enabled": true}));
        let url = format!("file://{}", file.display());
        let begun = page.ask("Page.navigate", json!({ "url": url }));
        assert!(begun.get("errorText").is_none(), "{begun}");
        // The page that a browser begins with is loaded too, whenever it likes.
        let is_loaded = |event: &Value| {
            let told = &event["params"];
            event["method"] == "Page.lifecycleEvent"
                && told["name"] == "load"
                && told["loaderId"] == begun["loaderId"]
        };
        while !page.events.iter().any(is_loaded) {
            let event = page.read();
            page.events.push(event);
        }
        page
    }

    /// What an expression of JavaScript comes to.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let asked = json!({"expression": expression, "returnByValue": true});
        let mut answer = self.ask("Runtime.evaluate", asked);
        assert!(answer.get("exceptionDetails").is_none(), "{expression}: {answer}");
        answer["result"]["value"].take()
    }

    /// The addresses of everything that was asked for.
    pub fn requests(&self) -> Vec<&str> {
        let sent = self
            .events
            .iter()
            .filter(|event| event["method"] == "Network.requestWillBeSent");
        sent.map(|event| event["params"]["request"]["url"].as_str().unwrap())
            .collect()
    }

    /// What the page wrote to the console, and what the browser complained of.
    pub fn complaints(&self) -> Vec<&Value> {
        let complaints = [
            "Runtime.exceptionThrown",
            "Runtime.consoleAPICalled",
            "Log.entryAdded",
        ];
        self.events
            .iter()
            .filter(|event| complaints.iter().any(|method| event["method"] == *method))
            .collect()
    }

    fn ask(&mut self, method: &str, params: Value) -> Value {
        self.next += 1;
        let mut message = json!({"id": self.next, "method": method, "params": params});
        if !self.session.is_empty() {
            message["sessionId"] = self.session.clone().into();
        }
        let mut bytes = serde_json::to_vec(&message).unwrap();
        bytes.push(0);
        self.to.write_all(&bytes).expect("the browser is there");
        loop {
            let mut answer = self.read();
            if answer["id"] == self.next {
                assert!(answer.get("error").is_none(), "{method}: {answer}");
                return answer["result"].take();
            }
            self.events.push(answer);
        }
    }

    fn read(&mut self) -> Value {
        let mut bytes = Vec::new();
        self.from.read_until(0, &mut bytes).unwrap();
        assert_eq!(bytes.pop(), Some(0), "the browser ended, or was too slow");
        serde_json::from_slice(&bytes).unwrap()
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // Asked to, the browser leaves nothing behind that still writes to its profile.
        let closing = self.to.write_all(b"{\"id\": 0, \"method\": \"Browser.close\"}\0");
        if closing.is_ok() {
            let mut rest = Vec::new();
            let _ = self.from.read_to_end(&mut rest);
        }
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = child.kill();
        let _ = child.wait();
    }
}
