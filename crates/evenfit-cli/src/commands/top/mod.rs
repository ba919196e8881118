//! `evenfit top`: a pool on the terminal, of a running process or of a recorded program that is
//! played.

use std::io::{IsTerminal as _, stdout};
use std::path::PathBuf;

use super::report::PoolSize;
use super::{missing, report::history::History};
use crate::allocator::Kind;
use crate::output::{Answer, InputError};

mod draw;
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod live;
mod recording;

pub(super) use recording::Now as RecordingNow;

/// Watch a pool: of a running process, or of a recorded program that is played.
///
/// Shows the memory map, curves, the largest holders and refused frees. A process can be watched
/// if it was started by `evenfit run` or publishes its pool (`evenfit_trace::live`). It is never
/// stopped, and watching costs it nothing.
///
/// Keys: space pauses; arrows step (with Shift by 100); + and - change the speed of a recording; p
/// goes to the fullest moment, w to the most fragmented one, f to the failure; Home and End go to
/// the start and the end; q quits. Exit code 0; 2 for bad flags or files.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  evenfit run -- python3 app.py & evenfit top $(pgrep -n python3)
  evenfit top --list                                            processes whose pool can be seen
  evenfit top traces/lua_particles.evt
  evenfit top traces/csound.evt --pool 43MiB --at failure       one picture, as text")]
pub struct Args {
    /// The number of a running process, or a recorded program: an .evt file
    #[arg(value_name = "PID|TRACE", required_unless_present = "list")]
    target: Option<PathBuf>,
    /// List the processes whose pool can be seen
    #[arg(long, conflicts_with_all = ["target", "at"])]
    list: bool,
    /// For a recording: the pool's size, metadata included: 16MiB, 4096, 1.5GiB; or `min` (the
    /// default) for the smallest that fits
    #[arg(long, allow_hyphen_values = true, value_name = "SIZE")]
    pool: Option<PoolSize>,
    /// For a recording: the allocator to run it in; `heap` unless given
    #[arg(long, value_enum)]
    allocator: Option<Kind>,
    /// Print one picture and exit. For a process: `now`. For a recording: an operation's number,
    /// `fullest`, `worst` or `failure`
    #[arg(long, value_name = "MOMENT")]
    at: Option<String>,
    /// For a recording: seconds to play all of it at the initial speed; 30 unless given
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<f64>,
    /// With --at or --list: answer in JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn run(self) -> Result<Answer, InputError> {
        if self.json && self.at.is_none() && !self.list {
            return Err(InputError("--json needs --at or --list".into()));
        }
        if self.list {
            return list(self.json);
        }
        if self.at.is_none() && !stdout().is_terminal() {
            return Err(InputError(
                "top needs a terminal; to print one picture as text, use `--at now` for a process or \
                 `--at fullest` for a recording"
                    .into(),
            ));
        }
        let target = self.target.clone().unwrap_or_default();
        let process_id = target.to_str().and_then(|text| text.parse::<u32>().ok());
        match process_id.filter(|_| !target.exists()) {
            Some(process_id) => self.process(process_id),
            None => self.recording(target),
        }
    }

    fn process(&self, process_id: u32) -> Result<Answer, InputError> {
        let of_recordings = [
            ("--pool", self.pool.is_some()),
            ("--allocator", self.allocator.is_some()),
            ("--seconds", self.seconds.is_some()),
        ];
        if let Some((flag, _)) = of_recordings.iter().find(|(_, given)| *given) {
            return Err(InputError(format!(
                "{flag} is for recordings; process {process_id} has its own pool"
            )));
        }
        watch(process_id, self.at.as_deref(), self.json)
    }

    fn recording(&self, path: PathBuf) -> Result<Answer, InputError> {
        let seconds = self.seconds.unwrap_or(30.0);
        if !(seconds > 0.0 && seconds <= 1e6) {
            return Err(InputError("--seconds is a number above 0".into()));
        }
        let pool = self.pool.unwrap_or(PoolSize::Min);
        let trace = pool.open(&path)?;
        if trace.events().is_empty() {
            return Err(InputError(format!("{}: there is no operation to show", path.display())));
        }
        let kind = self.allocator.unwrap_or(Kind::Heap);
        let pool = pool.bytes(&trace, kind)?;
        let history = History::of(&trace, kind, pool)?;
        let is_incomplete = missing(&trace).is_some();
        let note = if is_incomplete { " (INCOMPLETE)" } else { "" };
        let mut player = recording::Player::new(
            format!("{}{note}", path.display()),
            &trace,
            &history,
            pool as u64,
            seconds,
        );
        match &self.at {
            None => draw::show(&mut player).map(|()| Answer::yes("")),
            Some(at) => {
                player.jump_to(at)?;
                if self.json {
                    return Answer::json("top-recording", &player.now(), true);
                }
                Ok(Answer::yes(draw::plain(&player)))
            }
        }
    }
}

#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
pub(super) use live::{List as ProcessList, Now as ProcessNow};
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
use live::{list, watch};

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
fn list(_json: bool) -> Result<Answer, InputError> {
    Err(InputError("running processes can be watched on 64-bit Linux only".into()))
}

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
fn watch(_process_id: u32, _at: Option<&str>, _json: bool) -> Result<Answer, InputError> {
    list(false)
}
