//! The `evenfit` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    evenfit_cli::main()
}
