//! The program `lightning`; see `lightning_core::cli`.

fn main() -> std::process::ExitCode {
    lightning_core::cli::main()
}
