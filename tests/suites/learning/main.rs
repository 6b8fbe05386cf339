//! `sft`: that it learns what is rewarded and nothing else, that it survives being killed, and processes that train.

mod killed;
mod processes;
mod runs;

use lightning_core::train_process::TrainProgram;

/// The program that trains when it is told to.
pub fn trains() -> TrainProgram {
    TrainProgram::command(env!("CARGO_BIN_EXE_learning"), [""; 0])
}
