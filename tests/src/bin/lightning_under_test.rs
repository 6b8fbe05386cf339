//! The program `lightning`, so that the suite `cli` can run it.

fn main() -> std::process::ExitCode {
    lightning_core::cli::main()
}
