//! `evenfit record`: what an unmodified program asks of its allocator, as a trace.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, PoisonError};
use std::{env, fs, io, iter, mem};

use addr2line::{Loader, demangle_auto};
use evenfit_trace::format::{self, Header};
use evenfit_trace::session::{Module, Report, Sink};
use evenfit_trace::{Codec, Fault, Limits, Site, Trace, TraceError};
use schemars::JsonSchema;
use serde::Serialize;

use super::run::{self, exit_code, library, wait};
use super::{file_error, io_error};
use crate::output::{Answer, InputError, STRONG, Table};
use crate::output_file;
use crate::progress::Progress;
use crate::session::Session;
use crate::signals::{End, Running};
use crate::size::{counted, human};

mod unseen;

/// What the library records as: microseconds, malloc's alignment.
const HEADER: Header = evenfit_trace::session::RECORDING_HEADER;

/// Record what an unmodified program asks of its allocator: sizes, alignments, order, threads, call
/// sites, time.
///
/// Children that the program forks, and programs that it starts, are recorded to files of their
/// own: app.NAME-PID.evt beside app.evt. A program that is killed is recorded to its end. The exit
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
    /// Don't wait for processes that the program leaves running, such as daemons
    #[arg(long)]
    no_wait: bool,
    /// Overwrite OUT.evt if it is there
    #[arg(long)]
    force: bool,
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
        self.claim(&output)?;
        let parts = Arc::new(Mutex::new(Parts::new(&output)));
        let session = Session::of_recordings(Parts::sink(&parts))?;
        let child = self.start(&library, session.name())?;
        let process = child.id();
        let session = session.watch();
        let End { status, all_ended } = wait(child, !self.no_wait)?;
        let (reports, missed) = session.end(all_ended);
        let parts = mem::take(&mut *parts.lock().unwrap_or_else(PoisonError::into_inner));
        let unseen = match seen(process, &reports, &parts) {
            true => None,
            false => Some(reason(&self.command[0], process, &reports, status)),
        };
        let recordings = self.finish(&output, process, reports, parts)?;
        if recordings.is_empty() {
            let why = unseen.unwrap_or_default();
            return Err(InputError(format!("nothing was recorded: {why}")));
        }
        let summary = Summary { process_id: process, recordings, unseen, missed };
        let text =
            if self.json { Answer::json("record", &summary, true)?.text } else { summary.text() };
        // The program's own output goes to standard output.
        let _ = anstream::stderr().write_all(text.as_bytes());
        std::process::exit(exit_code(status))
    }

    /// Makes sure that the recording can be written where it is wanted.
    fn claim(&self, output: &Path) -> Result<(), InputError> {
        let error = |e| InputError(format!("can't write {}: {e}", output.display()));
        match fs::OpenOptions::new().write(true).create_new(true).open(output) {
            Ok(_) => fs::remove_file(output).map_err(error),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && !self.force => {
                Err(InputError(format!(
                    "{} is there already: choose another name, or say --force to overwrite it",
                    output.display()
                )))
            }
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                fs::OpenOptions::new().write(true).open(output).map(|_| ()).map_err(error)
            }
            Err(e) => Err(error(e)),
        }
    }

    fn start(&self, library: &Path, session: &str) -> Result<Running, InputError> {
        run::start(&self.command, library, session, |command| {
            command.env("EVENFIT_RECORD", "1").env_remove("EVENFIT_POOL");
        })
    }

    /// Names call sites and compresses.
    fn finish(
        &self,
        output: &Path,
        process: u32,
        reports: Vec<Report>,
        mut parts: Parts,
    ) -> Result<Vec<Recording>, InputError> {
        let progress = Progress::new("naming call sites and compressing", reports.len() as u64);
        let mut symbols = Symbols::default();
        // The program that was started has the name that was asked for: what it ran last.
        let own = reports.iter().filter(|report| report.process_id == process);
        let own = own.filter(|report| parts.has(report.order)).map(|report| report.order).max();
        let mut recordings = Vec::new();
        for report in reports {
            progress.advance(1);
            let Some(part) = parts.take(report.order) else { continue };
            let path = match Some(report.order) == own {
                true => output.to_owned(),
                false => sibling(output, &report),
            };
            recordings.push(self.finish_one(&part, &path, &report, &mut symbols)?);
        }
        // The program's own goes first.
        recordings.sort_by_key(|recording| recording.order != own.unwrap_or(0));
        Ok(recordings)
    }

    fn finish_one(
        &self,
        part: &Part,
        path: &Path,
        report: &Report,
        symbols: &mut Symbols,
    ) -> Result<Recording, InputError> {
        let codec = if self.level == 0 { Codec::Stored } else { Codec::Zstd(self.level) };
        let file = fs::File::open(&part.path).map_err(|e| {
            let why = part.failed.as_ref().unwrap_or(&e);
            InputError(format!("can't write {}: {why}", part.path.display()))
        })?;
        let (mut trace, fault) = Trace::recover(file, Limits::default())
            .map_err(|error| file_error("read", &part.path, &error))?;
        let incomplete = match fault {
            // The end mark is written below.
            None | Some(TraceError { fault: Fault::Truncated, .. }) => part.incomplete(report),
            Some(TraceError { fault: Fault::Limit { .. }, .. }) => {
                Some("the recording is longer than fits in memory".to_owned())
            }
            Some(error) => Some(format!("what was recorded is damaged: {error}")),
        };
        trace.add_sites(named(report, symbols));
        trace.add_fact("program", self.program(report));
        trace.add_fact("recorder", concat!("evenfit record ", env!("CARGO_PKG_VERSION")));
        incomplete.iter().for_each(|why| trace.add_incomplete(why));
        output_file::write(path, |out| trace.write(out, codec).map_err(io_error))?;
        Ok(Recording::of(path, &trace, report, incomplete))
    }

    /// What was recorded, in words: the command line, where it is this program's.
    fn program(&self, report: &Report) -> String {
        let line = self.command.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>();
        let name = Path::new(&self.command[0]).file_name().unwrap_or_default();
        if name.to_string_lossy() == report.program {
            line.join(" ")
        } else {
            format!("{}, process {}, of {}", report.program, report.process_id, line.join(" "))
        }
    }
}

/// What comes from the processes, as files beside the recording, until call sites can be named.
#[derive(Default)]
struct Parts {
    output: PathBuf,
    /// By the order of the claim.
    parts: HashMap<u32, Part>,
}

struct Part {
    path: PathBuf,
    chunks: u16,
    /// Why it could not be written.
    failed: Option<io::Error>,
}

impl Parts {
    fn new(output: &Path) -> Self {
        Self { output: output.to_owned(), parts: HashMap::new() }
    }

    fn sink(parts: &Arc<Mutex<Self>>) -> Sink {
        let parts = parts.clone();
        Box::new(move |order, events| {
            let mut parts = parts.lock().unwrap_or_else(PoisonError::into_inner);
            parts.add(order, events);
        })
    }

    fn add(&mut self, order: u32, events: &[u8]) {
        let output = &self.output;
        self.parts.entry(order).or_insert_with(|| Part::create(output, order)).add(events);
    }

    fn has(&self, order: u32) -> bool {
        self.parts.contains_key(&order)
    }

    fn take(&mut self, order: u32) -> Option<Part> {
        self.parts.remove(&order)
    }
}

impl Part {
    fn create(output: &Path, order: u32) -> Self {
        let mut path = output.as_os_str().to_owned();
        path.push(format!(".{}-{order}.part", std::process::id()));
        let path = PathBuf::from(path);
        let created = fs::File::create_new(&path);
        let written = created.and_then(|mut file| file.write_all(&HEADER.to_bytes()));
        Self { path, chunks: 0, failed: written.err() }
    }

    /// Opens the file each time: there may be more processes than descriptors.
    fn add(&mut self, events: &[u8]) {
        if self.failed.is_some() {
            return;
        }
        let (kind, codec) = (format::chunk::ADDRESSED, format::codec::STORED);
        let header = format::chunk_header(kind, codec, self.chunks, events, events.len() as u32);
        self.chunks = self.chunks.wrapping_add(1);
        let file = fs::OpenOptions::new().append(true).open(&self.path);
        let written = file.and_then(|mut file| {
            file.write_all(&header)?;
            file.write_all(events)
        });
        self.failed = written.err();
    }

    /// Why something is missing, if it is.
    fn incomplete(&self, report: &Report) -> Option<String> {
        if let Some(error) = &self.failed {
            return Some(format!("the recording could not be written: {error}"));
        }
        if report.lost {
            return Some("the program went on without the command".to_owned());
        }
        report.running.then(|| "the program still ran".to_owned())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// A name beside the recording for another process: `app.NAME-PID.evt`, with a number if that is
/// there already.
fn sibling(output: &Path, report: &Report) -> PathBuf {
    let stem = output.file_stem().unwrap_or_default().to_string_lossy();
    let is_plain = |c: char| c.is_alphanumeric() || "._+-".contains(c);
    let name = report.program.replace(|c: char| !is_plain(c), "_");
    let process = report.process_id;
    let numbered = (2..).map(|count| format!("{stem}.{name}-{process}-{count}.evt"));
    let names = iter::once(format!("{stem}.{name}-{process}.evt")).chain(numbered);
    let mut paths = names.map(|name| output.with_file_name(name));
    paths.find(|path| !path.exists()).unwrap_or_else(|| output.to_owned())
}

/// Whether anything of the process that was started was recorded.
fn seen(process: u32, reports: &[Report], parts: &Parts) -> bool {
    reports.iter().any(|report| report.process_id == process && parts.has(report.order))
}

/// Why nothing of the process that was started was recorded, as far as can be told.
fn reason(program: &OsStr, process: u32, reports: &[Report], status: ExitStatus) -> String {
    let of_file = unseen::reason_of_file(program);
    let was_loaded = reports.iter().any(|report| report.process_id == process);
    match (of_file, was_loaded, status.signal()) {
        (Some(reason), _, _) => reason,
        (None, true, None) => "the program allocated nothing".to_owned(),
        (None, true, Some(signal)) => {
            format!("the program allocated nothing before signal {signal} killed it")
        }
        (None, false, Some(signal)) => {
            format!("signal {signal} killed the program before it loaded the library")
        }
        (None, false, None) => "the program did not load the library: it ended before that, or it \
             started with another user's rights, or its loader ignores LD_PRELOAD"
            .to_owned(),
    }
}

/// The call sites of a recording, with their names.
fn named(report: &Report, symbols: &mut Symbols) -> impl Iterator<Item = Site> {
    report.sites.iter().map(|&(id, address)| {
        // The call is before the address where it returns to.
        let is_in =
            |module: &&Module| (module.start..module.end).contains(&address.wrapping_sub(1));
        let module = report.modules.iter().rev().find(is_in);
        symbols.named(Site {
            id,
            parent: 0,
            address: address.wrapping_sub(module.map_or(0, |module| module.shift)),
            name: String::new(),
            location: module.map_or_else(String::new, |module| module.path.clone()),
        })
    })
}

/// The symbols of the programs and libraries that call sites lie in.
#[derive(Default)]
struct Symbols(HashMap<String, Option<Loader>>);

impl Symbols {
    /// The site with its function's name as people write it, and its line where debug information
    /// tells.
    fn named(&mut self, site: Site) -> Site {
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
        Site { name, location: line.unwrap_or(module), ..site }
    }
}

/// What was recorded, as JSON has it.
#[derive(Serialize, JsonSchema)]
pub(super) struct Summary {
    process_id: u32,
    recordings: Vec<Recording>,
    /// Why the program itself is not among them, if it isn't.
    unseen: Option<String>,
    /// How many processes were not recorded, as too many ran at once.
    missed: u32,
}

#[derive(Serialize, JsonSchema)]
struct Recording {
    file: String,
    program: String,
    process_id: u32,
    #[serde(skip)]
    order: u32,
    operations: u64,
    peak_live_bytes: u64,
    call_sites: u64,
    /// The length of the file.
    file_bytes: u64,
    /// Why something is missing, if it is.
    incomplete: Option<String>,
}

impl Recording {
    fn of(path: &Path, trace: &Trace, report: &Report, incomplete: Option<String>) -> Self {
        let info = trace.info();
        Self {
            file: path.display().to_string(),
            program: report.program.clone(),
            process_id: report.process_id,
            order: report.order,
            operations: info.operations,
            peak_live_bytes: info.peak_live_bytes,
            call_sites: info.sites_seen,
            file_bytes: fs::metadata(path).map_or(0, |data| data.len()),
            incomplete,
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
                match &recording.incomplete {
                    None => String::new(),
                    Some(why) => format!("; INCOMPLETE: {why}"),
                }
            );
            table.styled(STRONG, &recording.file, human(recording.file_bytes), note);
        }
        let mut text = format!("recorded\n{table}");
        if let Some(why) = &self.unseen {
            text += &format!("the program itself was not recorded: {why}\n");
        }
        if self.missed > 0 {
            text += &format!("not recorded, as too many processes ran at once: {}\n", self.missed);
        }
        text
    }
}
