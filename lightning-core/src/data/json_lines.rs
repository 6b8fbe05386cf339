//! One JSON value a line. Lines are read one after the other, so a large file is never held whole.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    path::Path,
};

use serde::de::DeserializeOwned;

use super::{
    document::json_problem,
    error::DataError,
    source::{field, not_utf8, place, short_name, unreadable, without_mark},
};

pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, DataError> {
    let failed = |source| unreadable(path, source);
    let mut file = BufReader::new(File::open(path).map_err(failed)?);
    let mut tasks = Vec::new();
    let mut bytes = Vec::new();
    let mut number = 0;
    loop {
        bytes.clear();
        if file.read_until(b'\n', &mut bytes).map_err(failed)? == 0 {
            return Ok(tasks);
        }
        number += 1;
        let bytes = if number == 1 { without_mark(&bytes) } else { &bytes };
        let line = str::from_utf8(bytes).map_err(|_| not_utf8(path, number))?;
        // Without its end, so that an error at the end of a line is not one of the next line.
        let line = line.trim_end();
        if !line.is_empty() {
            tasks.push(parse(path, number, line)?);
        }
    }
}

fn parse<T: DeserializeOwned>(path: &Path, number: usize, line: &str) -> Result<T, DataError> {
    let malformed = |at: Option<String>, error: &serde_json::Error| DataError::Malformed {
        place: place(path, number, error.column(), at).into(),
        problem: json_problem(error),
        remedy: format!("each line is one `{}` in JSON", short_name::<T>()),
    };
    let mut deserializer = serde_json::Deserializer::from_str(line);
    let task = serde_path_to_error::deserialize(&mut deserializer)
        .map_err(|error| malformed(field(error.path()), error.inner()))?;
    deserializer.end().map_err(|error| malformed(None, &error))?;
    Ok(task)
}
