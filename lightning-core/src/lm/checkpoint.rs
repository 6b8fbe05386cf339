//! A model in a folder: what `transformers` writes and reads.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{
    ChatTemplate, LmError, ModelConfig, Tokenizer, Transformer,
    weights::{self, WEIGHTS_FILE},
};

const CONFIG_FILE: &str = "config.json";
const TOKENIZER_FILE: &str = "tokenizer.json";
const TOKENIZER_CONFIG_FILE: &str = "tokenizer_config.json";
const TEMPLATE_FILE: &str = "chat_template.jinja";

/// A model with what it needs to be asked: its tokenizer and its chat template.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The model.
    pub model: Transformer,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    /// How conversations become prompts.
    pub template: ChatTemplate,
    /// What the tokenizer consists of: names of files and their bytes, kept so that they are saved as they were.
    files: Vec<(&'static str, Vec<u8>)>,
}

impl Checkpoint {
    /// A model whose tokens are bytes.
    pub fn of_bytes(model: Transformer) -> Self {
        Self {
            model,
            tokenizer: Tokenizer::Bytes,
            template: ChatTemplate::Bytes,
            files: Vec::new(),
        }
    }

    /// The same tokenizer and template with another model.
    #[must_use]
    pub fn with_model(mut self, model: Transformer) -> Self {
        self.model = model;
        self
    }

    /// Reads a folder: `config.json`, `model.safetensors` or the files that `model.safetensors.index.json` names, and
    /// `tokenizer.json`. Without the last, the tokens are bytes. The chat template is `chat_template.jinja`, or that of
    /// `tokenizer_config.json`.
    ///
    /// Numbers of 16 bits are widened to 32.
    ///
    /// # Errors
    ///
    /// [`LmError::Read`], [`LmError::Malformed`], [`LmError::Unsupported`], [`LmError::Weights`].
    pub fn load(folder: impl AsRef<Path>) -> Result<Self, LmError> {
        let folder = folder.as_ref();
        let path = folder.join(CONFIG_FILE);
        let config = read(&path)?.ok_or_else(|| LmError::Read {
            path: path.clone(),
            source: io::ErrorKind::NotFound.into(),
        })?;
        let config = ModelConfig::from_json(&json(&path, &config)?)?;
        let path = folder.join(TOKENIZER_FILE);
        let mut files = Vec::new();
        let mut keep = |name| -> Result<Option<Vec<u8>>, LmError> {
            let bytes = read(&folder.join(name))?;
            files.extend(bytes.clone().map(|bytes| (name, bytes)));
            Ok(bytes)
        };
        let (tokenizer, template) = match keep(TOKENIZER_FILE)? {
            None => (Tokenizer::Bytes, ChatTemplate::Bytes),
            Some(bytes) => {
                let tokenizer = Tokenizer::from_bytes(bytes, &path)?;
                let settings = match keep(TOKENIZER_CONFIG_FILE)? {
                    Some(bytes) => json(&folder.join(TOKENIZER_CONFIG_FILE), &bytes)?,
                    None => Value::Null,
                };
                let source = keep(TEMPLATE_FILE)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
                (tokenizer, ChatTemplate::of(source, &settings)?)
            }
        };
        let tensors = weights::load(folder, &config)?;
        let model = Transformer::new(config, &tensors)?;
        tokenizer.check(&model.config)?;
        Ok(Self {
            model,
            tokenizer,
            template,
            files,
        })
    }

    /// Writes the folder. It appears at once and whole: all is written and synced beside it first. A folder that was there
    /// is replaced.
    ///
    /// # Errors
    ///
    /// [`LmError::Write`].
    pub fn save(&self, folder: impl AsRef<Path>) -> Result<(), LmError> {
        let folder = folder.as_ref();
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| LmError::Write { path, source }
        };
        let aside = beside(folder, "new");
        let _ = fs::remove_dir_all(&aside);
        fs::create_dir_all(&aside).map_err(failed(&aside))?;
        let config = serde_json::to_vec_pretty(&self.model.config.to_json());
        let config = config.map_err(|error| failed(folder)(error.into()))?;
        let weights = weights::to_bytes(&self.model.tensors())?;
        let own = [(CONFIG_FILE, &config), (WEIGHTS_FILE, &weights)];
        for (name, bytes) in own
            .into_iter()
            .chain(self.files.iter().map(|(name, bytes)| (*name, bytes)))
        {
            write(&aside.join(name), bytes)?;
        }
        // A folder that is not empty cannot be renamed over.
        let old = beside(folder, "old");
        let _ = fs::remove_dir_all(&old);
        if folder.exists() {
            fs::rename(folder, &old).map_err(failed(folder))?;
        }
        fs::rename(&aside, folder).map_err(failed(folder))?;
        let _ = fs::remove_dir_all(&old);
        sync_folder(folder.parent()).map_err(failed(folder))
    }
}

/// A folder beside another one, for the time of writing.
fn beside(folder: &Path, what: &str) -> PathBuf {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    folder.with_file_name(format!(".{name}.{what}"))
}

/// Makes renames in a folder last.
fn sync_folder(folder: Option<&Path>) -> io::Result<()> {
    match folder {
        Some(folder) if cfg!(unix) => {
            let folder = if folder.as_os_str().is_empty() {
                Path::new(".")
            } else {
                folder
            };
            File::open(folder)?.sync_all()
        }
        _ => Ok(()),
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), LmError> {
    let written = File::create(path).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(|source| LmError::Write {
        path: path.to_owned(),
        source,
    })
}

/// The bytes of a file, if it is there.
fn read(path: &Path) -> Result<Option<Vec<u8>>, LmError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(LmError::Read {
            path: path.to_owned(),
            source,
        }),
    }
}

fn json(path: &Path, bytes: &[u8]) -> Result<Value, LmError> {
    serde_json::from_slice(bytes).map_err(|error| LmError::Malformed {
        path: path.to_owned(),
        problem: error.to_string(),
    })
}
