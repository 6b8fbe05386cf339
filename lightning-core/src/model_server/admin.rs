//! Another model, while the server runs.

use std::{path::PathBuf, sync::Arc};

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use serde::Deserialize;
use serde_json::json;

use super::{
    request::Refusal,
    routes::{Shared, answered, body_of},
};
use crate::{
    lm::{Checkpoint, Served},
    server::{Role, shown_role},
};

/// The longest name that a version may have, in bytes.
const VERSION_BYTES: usize = 256;

/// What is asked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    /// The folder of the checkpoint, on this machine.
    folder: PathBuf,
    /// What answers say from then on.
    model_version: String,
}

/// Reads a checkpoint and has it answer what comes from then on. What goes wrong leaves the model that was there.
pub(super) async fn change(State(shared): State<Arc<Shared>>, request: Request) -> Result<Response, Refusal> {
    if shared.admins.is_empty() {
        let message = "the model cannot be changed over HTTP: start the server with --admin-token-file";
        return Err(Refusal::status(StatusCode::FORBIDDEN, message));
    }
    match shown_role(request.headers(), &shared.admins) {
        Some(Role::Admin) => {}
        Some(_) => {
            let message = "the token's role is not `admin`";
            return Err(Refusal::status(StatusCode::FORBIDDEN, message));
        }
        None => {
            let message = "an admin's token is needed: send `Authorization: Bearer TOKEN`";
            return Err(Refusal::status(StatusCode::UNAUTHORIZED, message));
        }
    }
    let body = body_of(&shared, request).await?;
    let change: Change = serde_json::from_slice(&body).map_err(|error| {
        let message = format!("the body has to be {{\"folder\": …, \"model_version\": …}}: {error}");
        Refusal::status(StatusCode::BAD_REQUEST, message)
    })?;
    let Change {
        folder,
        model_version,
    } = change;
    let fits = (1..=VERSION_BYTES).contains(&model_version.len())
        && model_version.bytes().all(|byte| byte.is_ascii_graphic());
    if !fits {
        let message = format!(
            "`model_version` stands in a header: it has to be 1 to {VERSION_BYTES} ASCII characters without spaces"
        );
        return Err(Refusal::bad("model_version", message));
    }
    // Two models that are read at once would need the memory of two, and the later request might win or lose.
    let Ok(_alone) = shared.loading.try_acquire() else {
        let message = "another model is being read; try again when that is done";
        return Err(Refusal::status(StatusCode::CONFLICT, message));
    };
    let read = tokio::task::spawn_blocking(move || Checkpoint::load(folder)).await;
    let checkpoint = match read {
        Ok(Ok(checkpoint)) => checkpoint,
        Ok(Err(error)) => return Err(Refusal::bad("folder", error.to_string())),
        Err(error) => {
            let message = format!("the model could not be read: {error}");
            return Err(Refusal::status(StatusCode::INTERNAL_SERVER_ERROR, message));
        }
    };
    let before = shared.engine.served();
    shared.engine.swap(Served::new(checkpoint, model_version));
    let now = shared.engine.served();
    tracing::info!(
        target: "lightning::model",
        model_version = now.version,
        previous_version = before.version,
        "the model was changed"
    );
    let body = json!({
        "model": shared.name, "model_version": now.version, "previous_version": before.version,
        "max_model_len": now.model.context(),
    });
    Ok(answered(&now, body.to_string()))
}
