//! Training data as files of JSON lines, one row each.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Value;

use super::{Conversations, Trajectories, Trajectory, Triplet, Triplets};

/// A triplet as a row. What differs in shape from row to row is JSON text, since readers of tables want columns of one type.
#[derive(Debug, Serialize)]
struct TripletRow<'a> {
    prompt_token_ids: &'a [u32],
    response_token_ids: &'a [u32],
    logprobs: Option<Vec<f64>>,
    reward: Option<f64>,
    prompt: Option<String>,
    response: Option<String>,
    image_urls: &'a [String],
    agent_name: Option<&'a str>,
    response_id: Option<&'a str>,
    span_id: &'a str,
    request: Option<String>,
    response_metadata: Option<String>,
}

impl<'a> From<&'a Triplet> for TripletRow<'a> {
    fn from(triplet: &'a Triplet) -> Self {
        let text = |value: &Option<Value>| value.as_ref().map(Value::to_string);
        Self {
            prompt_token_ids: &triplet.prompt.token_ids,
            response_token_ids: &triplet.response.token_ids,
            logprobs: triplet.response.token_logprobs(),
            reward: triplet.reward,
            prompt: text(&triplet.prompt.raw_content),
            response: text(&triplet.response.raw_content),
            image_urls: &triplet.prompt.image_urls,
            agent_name: triplet.metadata.agent_name.as_deref(),
            response_id: triplet.metadata.response_id.as_deref(),
            span_id: &triplet.metadata.span_id,
            request: text(&triplet.metadata.request),
            response_metadata: text(&triplet.metadata.response),
        }
    }
}

#[derive(Debug, Serialize)]
struct TrajectoryRow<'a> {
    #[serde(flatten)]
    trajectory: &'a Trajectory,
    reward: Option<f64>,
}

fn write<W: Write, R: Serialize>(mut writer: W, rows: impl Iterator<Item = R>) -> io::Result<()> {
    for row in rows {
        serde_json::to_writer(&mut writer, &row)?;
        writer.write_all(b"\n")?;
    }
    Ok(())
}

impl Triplets {
    /// Writes one row for each triplet: `prompt_token_ids`, `response_token_ids`, `logprobs`, `reward`, `image_urls`,
    /// `agent_name`, `response_id`, `span_id`; and as JSON text `prompt`, `response`, `request`, `response_metadata`. The
    /// files of several attempts may be written one after the other, and are read by `datasets.load_dataset("json", …)`.
    ///
    /// # Errors
    ///
    /// Those of the writer, which should buffer.
    pub fn write_json_lines(&self, writer: impl Write) -> io::Result<()> {
        write(writer, self.triplets.iter().map(TripletRow::from))
    }
}

impl Trajectories {
    /// Writes one row for each trajectory, with the fields of [`Trajectory`] and `reward`, the last turn's that has one.
    ///
    /// # Errors
    ///
    /// Those of the writer, which should buffer.
    pub fn write_json_lines(&self, writer: impl Write) -> io::Result<()> {
        let row = |trajectory| TrajectoryRow {
            trajectory,
            reward: Trajectory::last_reward(trajectory),
        };
        write(writer, self.trajectories.iter().map(row))
    }
}

impl Conversations {
    /// Writes one row for each conversation, as OpenAI's fine-tuning takes them.
    ///
    /// # Errors
    ///
    /// Those of the writer, which should buffer.
    pub fn write_json_lines(&self, writer: impl Write) -> io::Result<()> {
        write(writer, self.conversations.iter())
    }
}
