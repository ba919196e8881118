//! `evenfit completions` and `evenfit man-pages`: generated from the command line itself.

use std::path::PathBuf;

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::CommandLine;
use crate::output::{Answer, InputError};

/// Print completions for a shell.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  evenfit completions bash > ~/.local/share/bash-completion/completions/evenfit"
)]
pub struct Completions {
    /// Which shell
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self) -> Result<Answer, InputError> {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut CommandLine::command(), "evenfit", &mut text);
        String::from_utf8(text).map(Answer::yes).map_err(|error| InputError(error.to_string()))
    }
}

/// Write a man page for the command and one for each subcommand.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  evenfit man-pages ~/.local/share/man/man1")]
pub struct ManPages {
    /// The directory to write them to; made if it isn't there
    directory: PathBuf,
}

impl ManPages {
    pub(super) fn run(self) -> Result<Answer, InputError> {
        let error = |e: std::io::Error| {
            InputError(format!("can't write to {}: {e}", self.directory.display()))
        };
        std::fs::create_dir_all(&self.directory).map_err(error)?;
        clap_mangen::generate_to(CommandLine::command(), &self.directory).map_err(error)?;
        let pages = std::fs::read_dir(&self.directory).map_err(error)?.count();
        Ok(Answer::yes(format!("{pages} files in {}\n", self.directory.display())))
    }
}
