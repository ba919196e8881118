//! `evenfit record`: what an unmodified program asks of its allocator, as a trace.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::{env, fs};

use addr2line::{Loader, demangle_auto};
use evenfit_trace::{Codec, Fault, Limits, Site, Trace, TraceBuilder, TraceError};
use schemars::JsonSchema;
use serde::Serialize;

use super::file_error;
use super::run::{exit_code, library, wait};
use crate::output::{Answer, InputError, STRONG, Table};
use crate::progress::Progress;
use crate::signals;
use crate::size::{counted, human};

/// Record what an unmodified program asks of its allocator: sizes, alignments, order, threads, call
/// sites, time.
///
/// Children that the program forks, and programs that it starts, are recorded to files of their
/// own: app.PID.evt beside app.evt. A recording can be read even if the program is killed. The exit
/// code is the program's.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  evenfit record -o app.evt -- ./app --its-arguments
  evenfit size app.evt")]
pub struct Args {
    /// The recording
    #[arg(short, long, value_name = "OUT.evt")]
    output: PathBuf,
    /// zstd level of the finished recording: 1 to 22, or 0 for no compression
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(i32).range(0..=22))]
    level: i32,
    /// Write the summary as JSON
    #[arg(long)]
    json: bool,
    /// The program and its arguments, after `--`
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

impl Args {
    pub(super) fn run(self) -> Result<Answer, InputError> {
        let library = library()?;
        let output = std::path::absolute(&self.output)
            .map_err(|e| InputError(format!("can't use {}: {e}", self.output.display())))?;
        claim(&output)?;
        let before = siblings(&output);
        let child = self.start(&library, &output)?;
        let process = child.id();
        let status = wait(child)?;
        let mut files: Vec<PathBuf> = siblings(&output).difference(&before).cloned().collect();
        files.insert(0, output.clone());
        let recordings = self.finish(&files)?;
        let summary = Summary { process_id: process, recordings };
        let text =
            if self.json { Answer::json("record", &summary, true)?.text } else { summary.text() };
        // The program's own output goes to standard output.
        let _ = anstream::stderr().write_all(text.as_bytes());
        std::process::exit(exit_code(status))
    }

    fn start(&self, library: &Path, output: &Path) -> Result<Child, InputError> {
        let [program, arguments @ ..] = &self.command[..] else {
            return Err(InputError("no program to record".into()));
        };
        let mut preload = library.as_os_str().to_owned();
        if let Some(others) = env::var_os("LD_PRELOAD").filter(|others| !others.is_empty()) {
            preload.push(":");
            preload.push(others);
        }
        let mut command = Command::new(program);
        command.args(arguments).env("LD_PRELOAD", preload).env("EVENFIT_RECORD", output);
        signals::start(&mut command)
            .map_err(|e| InputError(format!("can't run {}: {e}", Path::new(program).display())))
    }

    /// Names call sites and compresses.
    fn finish(&self, files: &[PathBuf]) -> Result<Vec<Recording>, InputError> {
        let codec = if self.level == 0 { Codec::Stored } else { Codec::Zstd(self.level) };
        let progress = Progress::new("naming call sites and compressing", files.len() as u64);
        let mut symbols = Symbols::default();
        let mut recordings = Vec::new();
        for path in files.iter().filter(|path| path.is_file()) {
            recordings.push(self.finish_one(path, codec, &mut symbols)?);
            progress.advance(1);
        }
        if recordings.is_empty() {
            return Err(InputError(
                "nothing was recorded: is the program statically linked, or set-user-id?".into(),
            ));
        }
        Ok(recordings)
    }

    fn finish_one(
        &self,
        path: &Path,
        codec: Codec,
        symbols: &mut Symbols,
    ) -> Result<Recording, InputError> {
        let read = |error: &TraceError| file_error("read", path, error);
        let file = fs::File::open(path)
            .map_err(|e| InputError(format!("can't read {}: {e}", path.display())))?;
        let (trace, fault) =
            Trace::recover(file, Limits::default()).map_err(|error| read(&error))?;
        let complete = match fault {
            None => true,
            Some(TraceError { fault: Fault::Truncated, .. }) => false,
            // Longer than fits in memory: it stays as it was written.
            Some(TraceError { fault: Fault::Limit { .. }, .. }) => {
                return Ok(Recording::of(path, &trace, true));
            }
            Some(error) => return Err(read(&error)),
        };
        let program =
            self.command.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
        let named = rebuilt(&trace, &program, complete, symbols)?;
        named.save(path, codec).map_err(|error| file_error("write", path, &error))?;
        Ok(Recording::of(path, &named, complete))
    }
}

/// Makes sure that the recording can be written where it is wanted, and that no older one is in its
/// place.
fn claim(output: &Path) -> Result<(), InputError> {
    let error = |e| InputError(format!("can't write {}: {e}", output.display()));
    fs::OpenOptions::new().write(true).create(true).truncate(false).open(output).map_err(error)?;
    fs::remove_file(output).map_err(error)
}

/// The files that other processes of a recording to `output` write: `app.4711.evt` beside
/// `app.evt`.
fn siblings(output: &Path) -> BTreeSet<PathBuf> {
    let stem = output.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let entries = output.parent().and_then(|directory| fs::read_dir(directory).ok());
    let paths = entries.into_iter().flatten().flatten().map(|entry| entry.path());
    paths.filter(|path| is_sibling(&stem, path.file_name().unwrap_or_default())).collect()
}

fn is_sibling(stem: &str, name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    let process = name
        .strip_prefix(stem)
        .and_then(|rest| rest.strip_prefix('.'))
        .and_then(|rest| rest.strip_suffix(".evt"));
    process.is_some_and(|process| {
        process.starts_with(|c: char| c.is_ascii_digit())
            && process.chars().all(|c| c.is_ascii_digit() || c == '-')
    })
}

/// The same recording with its call sites named.
fn rebuilt(
    trace: &Trace,
    program: &str,
    complete: bool,
    symbols: &mut Symbols,
) -> Result<Trace, InputError> {
    let mut builder = TraceBuilder::new(trace.header());
    for record in trace.records() {
        builder.push(record).map_err(|fault| InputError(fault.to_string()))?;
    }
    builder.sites(trace.sites().iter().map(|site| symbols.named(site)));
    trace.incomplete().for_each(|why| builder.incomplete(why));
    builder.fact("program", program);
    builder.fact("recorder", concat!("evenfit record ", env!("CARGO_PKG_VERSION")));
    if !complete {
        builder.incomplete("the program was killed, and its last operations may be missing");
    }
    Ok(builder.finish())
}

/// The symbols of the programs and libraries that call sites lie in.
#[derive(Default)]
struct Symbols(HashMap<String, Option<Loader>>);

impl Symbols {
    /// The site with its function's name as people write it, and its line where debug information
    /// tells.
    fn named(&mut self, site: &Site) -> Site {
        let module = site.location.clone();
        let loader = self.0.entry(module.clone()).or_insert_with(|| Loader::new(&module).ok());
        // The call is before the address where it returns to.
        let at = site.address.saturating_sub(1);
        let found = loader.as_ref().and_then(|loader| {
            let mut frames = loader.find_frames(at).ok()?;
            let frame = frames.next().ok()??;
            let name =
                frame.function.and_then(|function| function.raw_name().ok().map(Cow::into_owned));
            let line =
                frame.location.and_then(|place| Some(format!("{}:{}", place.file?, place.line?)));
            Some((name, line))
        });
        let (name, line) = found.unwrap_or((None, None));
        let name = name
            .or_else(|| loader.as_ref()?.find_symbol(at).map(str::to_owned))
            .unwrap_or_else(|| site.name.clone());
        let short = module.rsplit('/').next().unwrap_or(&module);
        let name = if name.is_empty() {
            format!("{short}+{:#x}", site.address)
        } else {
            demangle_auto(name.into(), None).into_owned()
        };
        Site { name, location: line.unwrap_or(module), ..site.clone() }
    }
}

/// What was recorded, as JSON has it.
#[derive(Serialize, JsonSchema)]
pub(super) struct Summary {
    process_id: u32,
    recordings: Vec<Recording>,
}

#[derive(Serialize, JsonSchema)]
struct Recording {
    file: String,
    operations: u64,
    peak_live_bytes: u64,
    call_sites: u64,
    /// The length of the file.
    file_bytes: u64,
    /// Whether the program came to its end; else the last operations may be missing.
    complete: bool,
}

impl Recording {
    fn of(path: &Path, trace: &Trace, complete: bool) -> Self {
        let info = trace.info();
        Self {
            file: path.display().to_string(),
            operations: info.operations,
            peak_live_bytes: info.peak_live_bytes,
            call_sites: info.sites_seen,
            file_bytes: fs::metadata(path).map_or(0, |data| data.len()),
            complete,
        }
    }
}

impl Summary {
    fn text(&self) -> String {
        let mut table = Table::default();
        for recording in &self.recordings {
            let note = format!(
                "{}, peak live {}, {}{}",
                counted(recording.operations, "operation"),
                human(recording.peak_live_bytes),
                counted(recording.call_sites, "call site"),
                if recording.complete {
                    ""
                } else {
                    "; killed: the last operations may be missing"
                }
            );
            table.styled(STRONG, &recording.file, human(recording.file_bytes), note);
        }
        format!("recorded\n{table}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_other_processes_recordings_are_siblings() {
        for (name, is) in [
            ("app.4711.evt", true),
            ("app.4711-2.evt", true),
            ("app.evt", false),
            ("app.old.evt", false),
            ("apple.4711.evt", false),
            ("app.4711.txt", false),
            ("app..evt", false),
        ] {
            assert_eq!(is_sibling("app", OsStr::new(name)), is, "{name}");
        }
    }
}
