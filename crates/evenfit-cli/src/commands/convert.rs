//! `evenfit convert`: a recording of any format that is understood, as `.evt`.

use std::path::PathBuf;

use evenfit_trace::Codec;

use super::{file_error, open_trace};
use crate::output::{Answer, InputError};
use crate::size::{both, grouped};

/// Write a recording (.evt or .ytr, compressed or not) as .evt.
///
/// The output appears whole or not at all; a file of that name is replaced.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  evenfit convert redis.ytr.zst redis.evt")]
pub struct Args {
    /// The recording to read
    input: PathBuf,
    /// The .evt file to write
    output: PathBuf,
    /// How hard zstd tries, 1 to 22; 0 stores the events as they are
    #[arg(long, default_value_t = 19, value_parser = clap::value_parser!(u8).range(0..=22))]
    level: u8,
}

impl Args {
    pub(super) fn run(self) -> Result<Answer, InputError> {
        let trace = open_trace(&self.input)?;
        let codec = match self.level {
            0 => Codec::Stored,
            level => Codec::Zstd(level.into()),
        };
        trace
            .save(&self.output, codec)
            .map_err(|error| file_error("write", &self.output, &error))?;
        let written = std::fs::metadata(&self.output).map_or(0, |file| file.len());
        Ok(Answer::yes(format!(
            "{}: {} operations in {}\n",
            self.output.display(),
            grouped(trace.events().len() as u64),
            both(written)
        )))
    }
}
