//! `evenfit convert`: a recording of any format that is understood, as `.evt`, CSV or Perfetto's
//! JSON.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use evenfit_trace::{Codec, Limits, Trace};

use super::{STDIN, file_error, io_error, open_trace, warn_incomplete};
use crate::output::{Answer, InputError};
use crate::output_file;
use crate::size::{both, counted};

/// Write a recording (.evt, .csv, heaptrack's data, an ESP-IDF heap trace dump, a log of Zephyr's
/// heap listeners; each also packed by gzip or zstd) as .evt, .csv or Perfetto's .json.
///
/// A recording that says that something is missing stays so, with a warning. The extension of OUTPUT
/// chooses the format. The file appears whole or not at all. As .evt it can go to standard output
/// too, named `-`.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  evenfit convert log.csv program.evt                columns as docs/trace-format.md has them
  evenfit convert heaptrack.app.4711.zst app.evt
  evenfit convert serial.log firmware.evt            with the output of ESP-IDF's heap_trace_dump, or of Zephyr's
                                                     heap listeners (docs/trace-format.md)
  evenfit convert app.evt app.json                   for ui.perfetto.dev or chrome://tracing
  evenfit convert --partial killed.evt program.evt   what a killed program left")]
pub struct Args {
    /// The recording to read
    input: PathBuf,
    /// The .evt, .csv or .json file to write
    output: PathBuf,
    /// zstd level: 1 to 22, or 0 for no compression
    #[arg(long, default_value_t = 19, value_parser = clap::value_parser!(u8).range(0..=22))]
    level: u8,
    /// Replace OUTPUT if it exists
    #[arg(long)]
    force: bool,
    /// Keep the readable part of a recording that was cut off or damaged
    #[arg(long)]
    partial: bool,
}

impl Args {
    pub(super) fn run(self) -> Result<Answer, InputError> {
        let (trace, lost) = self.read()?;
        warn_incomplete(&self.input, &trace);
        output_file::write_new(&self.output, self.force, |out| self.write(&trace, out))?;
        if output_file::is_stdout(&self.output) {
            return Ok(Answer::yes(""));
        }
        let written = std::fs::metadata(&self.output).map_or(0, |file| file.len());
        let mended = trace.repairs().describe().map(|what| format!("mended: {what}\n"));
        Ok(Answer::yes(format!(
            "{}: {} in {}\n{lost}{}",
            self.output.display(),
            counted(trace.events().len() as u64, "operation"),
            both(written),
            mended.unwrap_or_default()
        )))
    }

    /// The recording, and a line about what of it could not be read.
    fn read(&self) -> Result<(Trace, String), InputError> {
        if !self.partial {
            return Ok((open_trace(&self.input)?, String::new()));
        }
        let recovered = if self.input == Path::new(STDIN) {
            Trace::recover(io::stdin().lock(), Limits::default())
        } else {
            Trace::recover_file(&self.input)
        };
        let (mut trace, fault) =
            recovered.map_err(|error| file_error("read", &self.input, &error))?;
        let lost = fault.map_or(String::new(), |fault| {
            trace.add_incomplete(format!("the rest of the recording is lost: {fault}"));
            format!("the rest of {} is lost: {fault}\n", self.input.display())
        });
        Ok((trace, lost))
    }

    fn write(&self, trace: &Trace, out: &mut dyn Write) -> io::Result<()> {
        let ends_in = |extension| self.output.extension().is_some_and(|name| name == extension);
        if ends_in("csv") {
            return trace.write_csv(out);
        }
        if ends_in("json") {
            return trace.write_perfetto(out);
        }
        let codec = match self.level {
            0 => Codec::Stored,
            level => Codec::Zstd(level.into()),
        };
        trace.write(out, codec).map_err(io_error)
    }
}
