//! The parts of the `evenfit` command: replaying recorded programs, sizes, tables, progress.
//!
//! Each subcommand is one file in `commands`. The parts that they share can be used by other tools
//! too: [`replay::Replay`] runs a trace in any [`Allocator`](evenfit_trace::replay::Allocator);
//! [`postmortem`] says why it stopped; [`smallest`] finds the smallest pool that serves it.

use std::process::ExitCode;

use clap::Parser;

pub mod allocator;
mod commands;
pub mod drive;
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
pub mod live;
pub mod obstacles;
pub mod output;
mod output_file;
pub mod postmortem;
pub mod progress;
pub mod region;
pub mod replay;
#[cfg(target_os = "linux")]
mod session;
#[cfg(target_os = "linux")]
mod signals;
pub mod size;
pub mod smallest;
pub mod verify;

pub use allocator::Kind;
pub use commands::schemas;
pub use output::{Answer, InputError};

/// The `evenfit` command: reads the command line, prints the result, and returns the exit code.
pub fn main() -> ExitCode {
    match commands::CommandLine::try_parse() {
        Ok(command_line) => output::finish(command_line.run()),
        // Help and version, which are written as any answer is.
        Err(asked) if !asked.use_stderr() => {
            output::finish(Ok(Answer::yes(asked.render().ansi().to_string())))
        }
        Err(error) => error.exit(),
    }
}
