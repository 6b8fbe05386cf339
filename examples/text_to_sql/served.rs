//! A GGUF file, served by llama.cpp in a process of its own.

use std::{
    env,
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::Context as _;

/// The process. It ends with this value, and with this process whatever its end is: then its standard input is closed.
pub(crate) struct Served {
    /// The base URL.
    pub(crate) endpoint: String,
    child: Child,
}

impl Served {
    /// Starts `serve_gguf.py` and waits until the model is read.
    pub(crate) async fn start(file: &Path) -> anyhow::Result<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("serve_gguf.py");
        let python = env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
        let mut child = Command::new(&python)
            .args([script.as_path(), file])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("{python} cannot be started; PYTHON says which one has `xllamacpp`"))?;
        let output = child.stdout.take().context("its output is a pipe")?;
        let first = tokio::task::spawn_blocking(move || {
            use std::io::BufRead as _;
            std::io::BufReader::new(output)
                .lines()
                .find_map(|line| line.ok().filter(|line| line.starts_with("http")))
        });
        let endpoint = first.await?;
        let mut served = Self {
            endpoint: String::new(),
            child,
        };
        served.endpoint = endpoint.with_context(|| {
            format!(
                "{} was not served; try `{python} {} {0}`, and `pip install xllamacpp`",
                file.display(),
                script.display()
            )
        })?;
        Ok(served)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
