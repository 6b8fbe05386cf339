//! `lightning proxy`.

use std::{path::Path, process::ExitCode, sync::Arc};

use anyhow::{Context as _, bail};

use super::{
    args::{LogStyle, ProxyArgs},
    serve::{Asked, BROKEN_OFF, Signals},
};
use crate::{
    client::StoreClient,
    llm_proxy::{ControlProxy as _, ProxyConfig, ReverseProxy},
    logging::{LogFormat, Logging},
    store::{Store, open_url},
    types::Secret,
};

pub(super) async fn run(args: ProxyArgs) -> anyhow::Result<ExitCode> {
    let format = match args.log_format {
        LogStyle::Text => LogFormat::Text,
        LogStyle::Json => LogFormat::Json,
    };
    let logging = Logging::new().levels(&args.log_level).context("--log-level")?;
    logging.format(format).without_recording().install()?;
    let config = ProxyConfig::read(&args.config)?;
    let address = if args.host.contains(':') {
        format!("[{}]:{}", args.host, args.port)
    } else {
        format!("{}:{}", args.host, args.port)
    };
    let mut builder = ReverseProxy::builder().models(config.models).address(address);
    if let Some(url) = &args.store {
        builder = builder.store(open_store(url).context("--store")?);
    }
    if let Some(file) = &args.token_file {
        builder = builder.token(read_token(file)?);
    }
    if let Some(url) = args.public_url {
        builder = builder.public_url(url);
    }
    if args.insecure {
        builder = builder.insecure();
    }
    let named = || args.config.display().to_string();
    let proxy = builder.build().with_context(named)?;
    proxy.start().await?;
    let mut signals = Signals::new(true)?;
    let kept = match &args.store {
        Some(_) => "",
        None => ", which records nothing (see --store),",
    };
    super::print(&format!(
        "lightning: an LLM proxy{kept} listens on {}\n",
        proxy.url().unwrap_or_default()
    ))?;
    while let Asked::Reload = signals.next().await {
        reload(&proxy, &args.config).await;
    }
    // The first signal stops the proxy in order, the second at once.
    let stopping = proxy.stop();
    tokio::pin!(stopping);
    loop {
        tokio::select! {
            stopped = &mut stopping => return Ok(stopped.map(|()| ExitCode::SUCCESS)?),
            signal = signals.next() => if matches!(signal, Asked::Stop) {
                return Ok(ExitCode::from(BROKEN_OFF));
            }
        }
    }
}

/// Reads the models again. A file that cannot be used changes nothing.
async fn reload(proxy: &ReverseProxy, file: &Path) {
    let changed = match ProxyConfig::read(file) {
        Ok(config) => proxy.set_models(config.models).await.map_err(anyhow::Error::from),
        Err(error) => Err(error.into()),
    };
    if let Err(error) = changed {
        let error = crate::emitter::error_message(&error);
        tracing::error!(target: "lightning::llm_proxy", error, "the models stay as they were");
    }
}

/// A store behind a server need not be there yet: what is recorded until then waits.
fn open_store(url: &str) -> anyhow::Result<Arc<dyn Store>> {
    if url.starts_with("http://") || url.starts_with("https://") {
        return Ok(Arc::new(StoreClient::builder(url).build()?));
    }
    Ok(open_url(url)?)
}

fn read_token(file: &Path) -> anyhow::Result<Secret> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    match text.trim() {
        "" => bail!("{} holds no token", file.display()),
        token => Ok(token.into()),
    }
}
