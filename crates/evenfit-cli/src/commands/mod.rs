//! The command line and its subcommands, one a file.

use std::fs;
use std::io::{self, Write as _, stdin};
use std::path::Path;

use clap::{Parser, Subcommand};
use evenfit_trace::{Fault, Trace, TraceError};

use crate::output::{Answer, BAD, InputError, shell_word};

mod bound;
mod compare;
mod convert;
mod demo;
mod info;
#[cfg(target_os = "linux")]
mod record;
mod replay;
mod report;
#[cfg(target_os = "linux")]
mod run;
pub mod schemas;
mod shell;
mod size;
mod top;

/// Replay recorded programs in a fixed pool, size it, see it.
///
/// Exit codes: 0 yes (it fits, it holds), 1 no, 2 bad flags or files.
#[derive(Parser)]
#[command(
    name = "evenfit",
    version,
    arg_required_else_help = true,
    after_help = "Example:\n  evenfit replay traces/redis.evt --pool 16MiB"
)]
pub struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Replay(replay::Args),
    Info(info::Args),
    Convert(convert::Args),
    Demo(demo::Args),
    Size(size::Args),
    Bound(bound::Args),
    #[cfg(target_os = "linux")]
    Run(run::Args),
    #[cfg(target_os = "linux")]
    Record(record::Args),
    Report(report::Args),
    Compare(compare::Args),
    Top(top::Args),
    Completions(shell::Completions),
    ManPages(shell::ManPages),
}

impl CommandLine {
    /// Runs the subcommand.
    ///
    /// # Errors
    /// A flag or a file that can't be used.
    pub fn run(self) -> Result<Answer, InputError> {
        match self.command {
            Command::Replay(args) => args.run(),
            Command::Info(args) => args.run(),
            Command::Convert(args) => args.run(),
            Command::Demo(args) => args.run(),
            Command::Size(args) => args.run(),
            Command::Bound(args) => args.run(),
            #[cfg(target_os = "linux")]
            Command::Run(args) => args.run(),
            #[cfg(target_os = "linux")]
            Command::Record(args) => args.run(),
            Command::Report(args) => args.run(),
            Command::Compare(args) => args.run(),
            Command::Top(args) => args.run(),
            Command::Completions(args) => args.run(),
            Command::ManPages(args) => args.run(),
        }
    }
}

/// Reads a trace whole.
///
/// # Errors
/// What is wrong with the file and where.
fn open_trace(path: &Path) -> Result<Trace, InputError> {
    let trace =
        if path == Path::new(STDIN) { Trace::read(stdin().lock()) } else { Trace::open(path) };
    trace.map_err(|error| {
        let InputError(mut why) = file_error("read", path, &error);
        if matches!(error.fault, Fault::Truncated) {
            why += &format!(
                "; `evenfit convert --partial {} OUT.evt` keeps what came before",
                shell_word(&path.to_string_lossy())
            );
        }
        InputError(why)
    })
}

/// The name of standard input, wherever a recording or a contract is read.
const STDIN: &str = "-";

/// The whole of a text file, or of standard input.
fn read_text(path: &Path) -> io::Result<String> {
    if path == Path::new(STDIN) {
        io::read_to_string(stdin().lock())
    } else {
        fs::read_to_string(path)
    }
}

/// The operating system's message, or that of another fault.
fn io_error(error: TraceError) -> io::Error {
    match error.fault {
        Fault::Io(cause) => cause,
        _ => io::Error::other(error),
    }
}

/// Reads a trace whole, to answer how much memory its program needs.
///
/// # Errors
/// As [`open_trace`]; a recording that says that it is incomplete.
fn open_complete(path: &Path) -> Result<Trace, InputError> {
    let trace = open_trace(path)?;
    let Some(why) = missing(&trace) else {
        return Ok(trace);
    };
    let word = shell_word(&path.to_string_lossy());
    Err(InputError(format!(
        "{} is incomplete, so nothing tells how large a pool its program needs: {why}. Record it again; `evenfit info \
         {word}` and `evenfit report {word} --pool SIZE -o OUT.html` show what is in it",
        path.display()
    )))
}

/// Reads a trace whole, to show it: with a warning where it is incomplete.
///
/// # Errors
/// As [`open_trace`].
fn open_to_show(path: &Path) -> Result<Trace, InputError> {
    let trace = open_trace(path)?;
    warn_incomplete(path, &trace);
    Ok(trace)
}

/// Prints a warning if a recording is incomplete.
fn warn_incomplete(path: &Path, trace: &Trace) {
    if let Some(why) = missing(trace) {
        let path = path.display();
        let _ = writeln!(
            anstream::stderr(),
            "{BAD}warning:{BAD:#} {path} is incomplete: {why}. Its program may need more memory than is seen here"
        );
    }
}

/// What is missing from a recording, in one line.
fn missing(trace: &Trace) -> Option<String> {
    let why = trace.incomplete().collect::<Vec<_>>().join("; ");
    let one_line = || why.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    trace.incomplete().next().map(|_| one_line())
}

/// An error about a file that could not be read or written.
fn file_error(verb: &str, path: &Path, error: &TraceError) -> InputError {
    let path = path.display();
    InputError(match &error.fault {
        Fault::Io(cause) => format!("can't {verb} {path}: {cause}"),
        _ => format!("can't {verb} {path}: {error}"),
    })
}
