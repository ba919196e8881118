//! `evenfit run`: an unmodified program with its whole `malloc` family served from one fixed pool.

use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use evenfit_trace::session::{Report, VARIABLE, footprint_bytes};
use schemars::JsonSchema;
use serde::Serialize;

use crate::output::{Answer, BAD, InputError, STRONG, Table};
use crate::session::Session;
use crate::signals::{self, End, Running};
use crate::size::{self, both, counted, grouped};

/// The library that serves the program from a pool, or records it.
const LIBRARY: &str = "libevenfit_preload.so";
/// Overrides where it is looked for.
const LIBRARY_VARIABLE: &str = "EVENFIT_PRELOAD";
/// The smallest pool that can start a program.
const MIN_POOL_BYTES: usize = 256 * 1024;

/// Run a program with all its memory in one fixed pool, and say what it needed.
///
/// The whole malloc family of the program is served from the pool. Every program that it starts
/// has a pool of its own. When a pool is full, malloc returns NULL, and the summary says so. The
/// summary goes to standard error. The exit code is the program's, and signals sent to this command
/// are passed on to the program.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  evenfit run --pool 512MiB -- python3 -c 'print(sum(range(10**6)))'"
)]
pub struct Args {
    /// The pool's size: 512MiB, 1GiB, 67108864
    #[arg(long, allow_hyphen_values = true, value_parser = size::parse, default_value = "512MiB")]
    pool: usize,
    /// Bring the whole pool into memory at once and keep it there (mlock)
    #[arg(long)]
    lock_memory: bool,
    /// Count refused pointers and go on, instead of aborting the program
    #[arg(long)]
    ignore_misuse: bool,
    /// Let `evenfit top` see the pool even where the kernel allows that to root only
    /// (kernel.yama.ptrace_scope = 1)
    #[arg(long)]
    top: bool,
    /// Don't wait for processes that the program leaves running, such as daemons
    #[arg(long)]
    no_wait: bool,
    /// Write the summary to this file instead of standard error
    #[arg(long, value_name = "FILE")]
    summary: Option<PathBuf>,
    /// Write the summary as JSON
    #[arg(long)]
    json: bool,
    /// The program and its arguments, after `--`
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

impl Args {
    pub(super) fn run(self) -> Result<Answer, InputError> {
        if self.pool < MIN_POOL_BYTES {
            return Err(InputError(format!(
                "a pool of {} can't start a program: use at least --pool {}k",
                both(self.pool as u64),
                MIN_POOL_BYTES / 1024
            )));
        }
        let library = library()?;
        let session = Session::of_pools()?;
        let mut summary = self.open_summary()?;
        let child = self.start(&library, session.name())?;
        let process_id = child.id();
        let session = session.watch();
        let End { status, all_ended } = wait(child, !self.no_wait)?;
        let summary_of_all = Summary::new(process_id, session.end(all_ended), status);
        let text = if self.json {
            let Answer { text, .. } = Answer::json("run", &summary_of_all, true)?;
            text
        } else {
            summary_of_all.text(self.pool)
        };
        summary
            .write_all(text.as_bytes())
            .map_err(|error| InputError(format!("can't write the summary: {error}")))?;
        std::process::exit(exit_code(status))
    }

    /// Where the summary will go: opened first, so that a bad name is known before the program
    /// runs.
    fn open_summary(&self) -> Result<Box<dyn std::io::Write>, InputError> {
        match &self.summary {
            None => Ok(Box::new(anstream::stderr())),
            Some(path) => match std::fs::File::create(path) {
                Ok(file) => Ok(Box::new(anstream::StripStream::new(file))),
                Err(error) => Err(InputError(format!("can't write {}: {error}", path.display()))),
            },
        }
    }

    fn start(&self, library: &Path, session: &str) -> Result<Running, InputError> {
        let [program, arguments @ ..] = &self.command[..] else {
            return Err(InputError("no program to run".into()));
        };
        let mut preload = library.as_os_str().to_owned();
        if let Some(others) = std::env::var_os("LD_PRELOAD").filter(|others| !others.is_empty()) {
            preload.push(":");
            preload.push(others);
        }
        let mut command = Command::new(program);
        command
            .args(arguments)
            .arg0(program)
            .env("LD_PRELOAD", preload)
            .env_remove("EVENFIT_RECORD")
            .env_remove("EVENFIT_SUMMARY")
            .env("EVENFIT_POOL", self.pool.to_string())
            .env("EVENFIT_LOCK_MEMORY", if self.lock_memory { "1" } else { "0" })
            .env("EVENFIT_MISUSE", if self.ignore_misuse { "ignore" } else { "abort" })
            .env("EVENFIT_TOP", if self.top { "1" } else { "0" })
            .env(VARIABLE, session);
        signals::start(&mut command).map_err(|error| {
            InputError(format!("can't run {}: {error}", Path::new(program).display()))
        })
    }
}

/// Waits for the program, which gets the signals sent to this process, and maybe for all that it
/// leaves running.
pub(super) fn wait(program: Running, for_all: bool) -> Result<End, InputError> {
    let end = program.wait(for_all);
    end.map_err(|error| InputError(format!("can't wait for the program: {error}")))
}

/// The program's own exit code; as shells have it, 128 and the signal's number for one that was
/// killed.
pub(super) fn exit_code(status: ExitStatus) -> i32 {
    match (status.code(), status.signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => 1,
    }
}

/// Finds the library: where the environment says, beside this command, or in `../lib` from there.
pub(super) fn library() -> Result<PathBuf, InputError> {
    let named = std::env::var_os(LIBRARY_VARIABLE).map(PathBuf::from);
    let candidates = match &named {
        Some(path) => vec![path.clone()],
        None => beside_this_command(),
    };
    let Some(found) = candidates.iter().find(|path| path.is_file()) else {
        return Err(InputError(match named {
            Some(path) => format!("{LIBRARY_VARIABLE}={}: no such file", path.display()),
            None => format!(
                "{LIBRARY} is not beside this command: build it with `cargo build --release -p evenfit-preload`, \
                 or say where it is in {LIBRARY_VARIABLE}"
            ),
        }));
    };
    let found = found
        .canonicalize()
        .map_err(|error| InputError(format!("can't use {}: {error}", found.display())))?;
    if has_separator(found.as_os_str()) {
        return Err(InputError(format!(
            "{}: the dynamic linker can't load a library whose name has a space or a colon: copy it elsewhere and \
             say where in {LIBRARY_VARIABLE}",
            found.display()
        )));
    }
    Ok(found)
}

fn beside_this_command() -> Vec<PathBuf> {
    let Ok(command) = std::env::current_exe() else {
        return Vec::new();
    };
    let Some(directory) = command.parent() else {
        return Vec::new();
    };
    vec![directory.join(LIBRARY), directory.join("../lib").join(LIBRARY)]
}

/// `LD_PRELOAD` is a list, parted by these, with no way to quote them.
fn has_separator(path: &OsStr) -> bool {
    path.as_encoded_bytes().iter().any(|byte| b" :\t\n".contains(byte))
}

/// What one process left. An image that `exec` replaced counts as one of its own.
#[derive(Clone, Debug, Serialize, JsonSchema)]
struct Process {
    program: String,
    process_id: u32,
    pool_bytes: u64,
    metadata_bytes: u64,
    peak_used_bytes: u64,
    used_bytes: u64,
    live_blocks: u64,
    footprint_bytes: u64,
    largest_free_bytes: u64,
    failed_requests: u64,
    smallest_failure_bytes: Option<u64>,
    refused_frees: u64,
    /// How it ended. After its exit everything is exact. Else the footprint, what was used and the
    /// largest free may be up to 256 operations old.
    ended: Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Ended {
    /// By its exit.
    Exit,
    /// Another program took its place.
    Exec,
    /// By a signal, or in another way without exit.
    Killed,
    /// It may still run.
    Running,
}

impl Process {
    fn new(report: Report) -> Self {
        let pool = report.pool;
        Self {
            program: report.program,
            process_id: report.process_id,
            pool_bytes: pool.pool_bytes,
            metadata_bytes: pool.metadata_bytes,
            peak_used_bytes: pool.peak_used_bytes,
            used_bytes: pool.used_bytes,
            live_blocks: pool.live_blocks,
            footprint_bytes: footprint_bytes(
                pool.pool_bytes,
                pool.metadata_bytes,
                pool.touched_bytes,
            ),
            largest_free_bytes: pool.largest_free_bytes,
            failed_requests: pool.failed_requests,
            smallest_failure_bytes: (pool.failed_requests > 0)
                .then_some(pool.smallest_failure_bytes),
            refused_frees: pool.refused_frees,
            ended: match report {
                Report { replaced: true, .. } => Ended::Exec,
                Report { at_exit: true, .. } => Ended::Exit,
                Report { running: true, .. } => Ended::Running,
                _ => Ended::Killed,
            },
        }
    }
}

/// The JSON answer. All sizes in bytes.
#[derive(Serialize, JsonSchema)]
pub(super) struct Summary {
    exit_code: i32,
    /// The process that was started, as the last program that it ran; absent if that never loaded
    /// the library.
    process: Option<Process>,
    /// Those that it started in turn, and the programs that ran before in a process of theirs, in
    /// the order in which they began.
    children: Vec<Process>,
    /// How many processes could not be watched, as too many ran at once.
    missed: u32,
}

/// How many processes have a line of their own in the text.
const LINES_MAX: usize = 20;

impl Summary {
    fn new(process_id: u32, (reports, missed): (Vec<Report>, u32), status: ExitStatus) -> Self {
        let has_pool = |report: &Report| report.pool.pool_bytes > 0;
        let reports = reports.into_iter().filter(has_pool);
        let mut children: Vec<_> = reports.map(Process::new).collect();
        let own = children.iter().rposition(|process| process.process_id == process_id);
        Self {
            exit_code: exit_code(status),
            process: own.map(|index| children.remove(index)),
            children,
            missed,
        }
    }

    /// Of all processes, that with the largest peak, and the others after it.
    fn text(&self, region_bytes: usize) -> String {
        let mut all: Vec<_> = self.process.iter().chain(&self.children).collect();
        // The one that was started goes first where peaks are the same.
        all.sort_by_key(|process| std::cmp::Reverse(process.peak_used_bytes));
        let [largest, others @ ..] = &all[..] else {
            return self.text_without_report();
        };
        let mut table = Table::default();
        let pool = format!("of a pool of {}", both(region_bytes as u64));
        table.styled(STRONG, "peak", both(largest.peak_used_bytes), pool);
        table.row(
            "footprint",
            both(largest.footprint_bytes),
            "the pool that was ever touched, and its map",
        );
        let end = match largest.ended {
            Ended::Exit => "at the end",
            Ended::Exec => "before another program took its place",
            Ended::Killed => "before it was killed, up to 256 operations ago",
            Ended::Running => "up to 256 operations ago; it still runs",
        };
        table.row("largest free", both(largest.largest_free_bytes), end);
        table.row(
            "never freed",
            both(largest.used_bytes),
            format!("in {}", counted(largest.live_blocks, "block")),
        );
        failures(&mut table, largest);
        for process in others.iter().filter(|process| process.failed_requests > 0) {
            failures(&mut table, process);
        }
        if self.missed > 0 {
            let missed =
                counted(self.missed.into(), "more process").replace("processs", "processes");
            table.row("not watched", missed, "as too many ran at once");
        }
        let mut text =
            format!("{STRONG}{}{STRONG:#}, process {}", largest.program, largest.process_id);
        if !others.is_empty() {
            text += &format!(": the largest peak of {} processes", all.len());
        }
        text += &format!("\n{table}");
        if !others.is_empty() {
            let mut table = Table::default();
            for process in others.iter().take(LINES_MAX) {
                let peak = format!("peak {}", both(process.peak_used_bytes));
                let ended = match process.ended {
                    Ended::Exit => "",
                    Ended::Exec => "another program took its place",
                    Ended::Killed => "killed",
                    Ended::Running => "it still runs",
                };
                table.row(
                    &format!("{}, process {}", process.program, process.process_id),
                    peak,
                    ended,
                );
            }
            if others.len() > LINES_MAX {
                let count = counted((others.len() - LINES_MAX) as u64, "more process");
                table.row("and", count.replace("processs", "processes"), "with lower peaks");
            }
            text += &table.to_string();
        }
        text
    }

    fn text_without_report(&self) -> String {
        let how = if self.exit_code > 128 {
            "it was killed before it loaded the library, or it is statically linked or set-user-id"
        } else {
            "it is statically linked or set-user-id"
        };
        format!("evenfit: the program left no report: {how}\n")
    }
}

/// The rows on what a process was refused.
fn failures(table: &mut Table, report: &Process) {
    match report.smallest_failure_bytes {
        None => table.row("failed requests", "0", ""),
        Some(bytes) => {
            let note = format!(
                "{}'s pool was full; the smallest asked for {}",
                report.program,
                both(bytes)
            );
            table.styled(BAD, "failed requests", grouped(report.failed_requests), note);
        }
    }
    if report.refused_frees > 0 {
        let note = format!("of {}: double frees or foreign pointers", report.program);
        table.styled(BAD, "refused pointers", grouped(report.refused_frees), note);
    }
}
