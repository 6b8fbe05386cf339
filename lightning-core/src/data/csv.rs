//! Comma-separated values below a line of names.

use ::csv::{Error, ErrorKind, ReaderBuilder, StringRecord};
use serde::de::DeserializeOwned;

use super::{
    error::DataError,
    source::{Source, short_name},
};

pub(super) fn read<T: DeserializeOwned>(source: &Source) -> Result<Vec<T>, DataError> {
    let mut reader = ReaderBuilder::new().from_reader(source.text().as_bytes());
    let names = reader
        .headers()
        .map_err(|error| failure::<T>(source, &StringRecord::new(), &error))?
        .clone();
    for (i, name) in names.iter().enumerate() {
        if names.iter().take(i).any(|earlier| earlier == name) {
            return Err(DataError::Malformed {
                place: source.place(1, 0, Some(name.to_owned())).into(),
                problem: "two columns have this name".to_owned(),
                remedy: "rename one".to_owned(),
            });
        }
    }
    let mut tasks = Vec::new();
    let mut record = StringRecord::new();
    loop {
        let read = reader.read_record(&mut record);
        if !read.map_err(|error| failure::<T>(source, &names, &error))? {
            return Ok(tasks);
        }
        let task = record.deserialize(Some(&names));
        tasks.push(task.map_err(|error| failure::<T>(source, &names, &error))?);
    }
}

fn failure<T>(source: &Source, names: &StringRecord, error: &Error) -> DataError {
    let line = error
        .position()
        .and_then(|position| usize::try_from(position.line()).ok())
        .unwrap_or(0);
    let mut field = None;
    let mut remedy = format!(
        "each line is one `{}`, its fields named by the first line",
        short_name::<T>()
    );
    let problem = match error.kind() {
        ErrorKind::Deserialize { err, .. } => {
            let index = err.field().and_then(|index| usize::try_from(index).ok());
            field = index.and_then(|index| names.get(index)).map(str::to_owned);
            err.kind().to_string()
        }
        ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => {
            remedy = "put a field that holds a comma or a line break in double quotes".to_owned();
            format!("the line has {len} fields, and the first line names {expected_len}")
        }
        _ => error.to_string(),
    };
    DataError::Malformed {
        place: source.place(line, 0, field).into(),
        problem,
        remedy,
    }
}
