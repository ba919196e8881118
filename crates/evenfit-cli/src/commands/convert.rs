//! `evenfit convert`: a recording of any format that is understood, as `.evt`, CSV or Perfetto's
//! JSON.

use std::path::PathBuf;

use evenfit_trace::{Codec, Trace, TraceError};

use super::{file_error, open_trace};
use crate::output::{Answer, InputError};
use crate::size::{both, counted};

/// Write a recording (.evt, .csv, heaptrack's data, an ESP-IDF heap trace dump, a log of Zephyr's
/// heap listeners) as .evt, .csv or Perfetto's .json.
///
/// The extension of OUTPUT chooses the format. The file appears whole or not at all; a file of that
/// name is replaced.
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
    /// Keep the readable part of a recording that was cut off or damaged
    #[arg(long)]
    partial: bool,
}

impl Args {
    pub(super) fn run(self) -> Result<Answer, InputError> {
        let (trace, lost) = self.read()?;
        self.write(&trace).map_err(|error| file_error("write", &self.output, &error))?;
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
        let (trace, fault) = Trace::recover_file(&self.input)
            .map_err(|error| file_error("read", &self.input, &error))?;
        let lost = fault.map_or(String::new(), |fault| {
            format!("the rest of {} is lost: {fault}\n", self.input.display())
        });
        Ok((trace, lost))
    }

    fn write(&self, trace: &Trace) -> Result<(), TraceError> {
        let ends_in = |extension| self.output.extension().is_some_and(|name| name == extension);
        if ends_in("csv") {
            return trace.save_csv(&self.output);
        }
        if ends_in("json") {
            return trace.save_perfetto(&self.output);
        }
        let codec = match self.level {
            0 => Codec::Stored,
            level => Codec::Zstd(level.into()),
        };
        trace.save(&self.output, codec)
    }
}
