//! `evenfit size`: the smallest pool for recorded programs, how near it is to failing, and the pool
//! that never fails.

mod maxima;
mod perturb;
mod text;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use clap::ValueEnum;
use evenfit_bound::policy::{Handle, Policy};
use evenfit_bound::slabs;
use evenfit_trace::Event;
use schemars::JsonSchema;
use serde::Serialize;

use self::maxima::Maxima;
use super::open_complete;
use crate::allocator::Kind;
use crate::drive::{Program, Tightest, drive};
use crate::output::{Answer, InputError};
use crate::progress::Progress;
use crate::smallest::{Found, enough, smallest};

/// Find the smallest pool that serves recorded programs, how near it is to failing, and the pool
/// that never fails.
///
/// Exit code 0; with --ci 1 if the new build needs more; 2 for bad flags or files.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  evenfit size traces/csound.evt
  evenfit size traces/*.evt --seeds 0
  evenfit size --ci base.evt new.evt --tolerance 1

The smallest pool serves the program; one that is 8 bytes smaller doesn't. A larger pool may still
fail, because blocks then lie elsewhere: from `always_region_bytes` on, none fails. Size a pool by that, or
by the safe pools, which docs/bounds.md proves for any program with the same maxima.")]
pub struct Args {
    /// The recorded programs: .evt files; with --ci the base and the new build's
    #[arg(required = true)]
    traces: Vec<PathBuf>,
    /// Also replay each program N times with slightly larger blocks and N times with longer
    /// lifetimes; 0 for neither
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u64).range(0..=1000))]
    seeds: u64,
    /// Compare two builds: fail if the second needs a larger pool than the first
    #[arg(long)]
    ci: bool,
    /// With --ci: growth that is not yet a failure, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0, requires = "ci")]
    tolerance: f64,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

/// Pools whose margin is shown, in percent of the smallest.
const MARGINS: [u64; 7] = [100, 101, 102, 105, 110, 125, 150];

impl Args {
    pub(super) fn run(self) -> Result<Answer, InputError> {
        if self.ci {
            return self.compare_builds();
        }
        let sized =
            self.traces.iter().map(|path| size(path, self.seeds)).collect::<Result<Vec<_>, _>>()?;
        if self.json {
            return Answer::json("size", &AllSized { programs: sized }, true);
        }
        Ok(Answer::yes(sized.iter().map(text::of).collect::<Vec<_>>().join("\n")))
    }

    fn compare_builds(&self) -> Result<Answer, InputError> {
        let [base, new] = self.traces.as_slice() else {
            return Err(InputError(format!(
                "--ci compares two traces, BASE.evt NEW.evt; {} given",
                self.traces.len()
            )));
        };
        if !(0.0..=1000.0).contains(&self.tolerance) {
            return Err(InputError("--tolerance is a percentage from 0 to 1000".into()));
        }
        let builds = [base, new].map(|path| build(path));
        let [base, new] = builds;
        let report = Builds::new(base?, new?, self.tolerance);
        let yes = !report.grew;
        if self.json {
            return Answer::json("size-ci", &report, yes);
        }
        Ok(Answer { text: text::of_builds(&report), yes })
    }
}

/// The JSON answer.
#[derive(Serialize, JsonSchema)]
pub(super) struct AllSized {
    /// One for each recording.
    programs: Vec<Sized>,
}

/// What is known of one recorded program. Sizes are in bytes; pools count their map.
#[derive(Serialize, JsonSchema)]
struct Sized {
    trace: String,
    operations: u64,
    peak_live_bytes: u64,
    pools: Vec<Pool>,
    margins: Vec<Margin>,
    perturbed: Vec<Perturbed>,
    maxima: MaximaReport,
}

/// The smallest pool of one kind.
#[derive(Serialize, JsonSchema)]
struct Pool {
    allocator: &'static str,
    /// Null if it can't manage a pool of the size needed.
    smallest_region_bytes: Option<u64>,
    /// Every pool of at least this many bytes serves it, if that is known.
    always_region_bytes: Option<u64>,
    footprint: Option<f64>,
    replays: u32,
    /// Placed by the same policy, without running the allocator itself.
    simulated: bool,
}

/// How far from failing in a larger pool.
#[derive(Serialize, JsonSchema)]
struct Margin {
    percent_of_smallest: u64,
    region_bytes: u64,
    /// A longer pool than the smallest may fail all the same.
    serves: bool,
    /// At the tightest moment: how many bytes more the request could have asked for.
    spare_bytes: u64,
    operation: u64,
    request_bytes: u64,
}

/// The pools that slightly different programs need.
#[derive(Serialize, JsonSchema)]
struct Perturbed {
    change: &'static str,
    /// One for each seed, the smallest first.
    region_bytes: Vec<u64>,
}

#[derive(Serialize, JsonSchema)]
struct MaximaReport {
    live_bytes: u64,
    live_blocks: u64,
    robson_floor_bytes: u64,
    /// In the heap without slabs.
    safe_region_bytes: Option<u64>,
    /// The request that decides the size of the safe pool.
    binding_request_bytes: Option<u64>,
    /// How many gaps there may be when it fails, and how long.
    most_gaps: Option<u64>,
    longest_gap_bytes: Option<u64>,
    /// Safe pools apart, by size: how many and how large together.
    apart_pools: Option<u64>,
    apart_region_bytes: Option<u64>,
    /// The safe pool of the heap with slabs, and the most slabs it has at once.
    safe_with_slabs_region_bytes: Option<u64>,
    most_slabs: Option<u64>,
}

/// Everything about one trace, on all cores.
fn size(path: &Path, seeds: u64) -> Result<Sized, InputError> {
    let trace = open_complete(path)?;
    let program = Program::of(&trace);
    let kinds: Vec<Kind> = Kind::value_variants()
        .iter()
        .copied()
        .filter(|kind| !matches!(kind, Kind::FirstFit | Kind::Slabs))
        .collect();
    // About ten replays find a smallest pool.
    let replays = 12 * kinds.len() as u64 + 2 + MARGINS.len() as u64 + 2 * seeds;
    let progress = Progress::new("sizing", replays * trace.events().len() as u64);
    let tick = || progress.advance(trace.events().len() as u64);

    let mut tasks: Vec<Task> = kinds.iter().map(|&kind| Task::Smallest(kind)).collect();
    tasks.push(Task::FirstFit);
    tasks.push(Task::AllLarger);
    tasks.extend((1..=seeds).map(Task::SomeLarger));
    tasks.extend((1..=seeds).map(Task::LongerLives));
    let found = on_all_cores(&tasks, |&task| task.run(program, &tick))?;

    let smallest_region_bytes = found[0].bytes;
    let margins = match smallest_region_bytes {
        Some(bytes) => {
            on_all_cores(&MARGINS, |&percent| margin(program, bytes as usize, percent, &tick))?
        }
        None => Vec::new(),
    };
    let pools =
        tasks.iter().zip(&found).filter_map(|(task, found)| task.pool(found, program)).collect();
    Ok(Sized {
        trace: path.display().to_string(),
        operations: trace.events().len() as u64,
        peak_live_bytes: program.peak_bytes as u64,
        pools,
        margins,
        perturbed: perturbed(&tasks, &found),
        maxima: maxima(program),
    })
}

/// One search or replay.
#[derive(Clone, Copy, PartialEq)]
enum Task {
    Smallest(Kind),
    FirstFit,
    AllLarger,
    SomeLarger(u64),
    LongerLives(u64),
}

/// A pool in bytes, and how many replays it took.
struct FoundPool {
    bytes: Option<u64>,
    always_region_bytes: Option<u64>,
    replays: u32,
}

impl Task {
    fn run(self, program: Program, tick: &(impl Fn() + Sync)) -> Result<FoundPool, InputError> {
        let Program { events, allocations, .. } = program;
        let changed = match self {
            Self::Smallest(kind) => {
                let found = smallest(kind, program, |_| tick())?;
                return Ok(FoundPool {
                    bytes: found
                        .map(|Found { smallest_region_bytes, .. }| smallest_region_bytes as u64),
                    always_region_bytes: found
                        .and_then(|found| found.always_region_bytes)
                        .map(|bytes| bytes as u64),
                    replays: found.map_or(0, |found| found.replays),
                });
            }
            Self::FirstFit => {
                tick();
                return Ok(FoundPool {
                    bytes: first_fit(program),
                    always_region_bytes: None,
                    replays: 1,
                });
            }
            Self::AllLarger => perturb::all_larger(events),
            Self::SomeLarger(seed) => perturb::some_larger(events, seed),
            Self::LongerLives(seed) => perturb::longer_lives(events, allocations, seed),
        };
        let changed = Program { events: &changed, ..program };
        let bytes = enough(Kind::Heap, changed)?;
        tick();
        Ok(FoundPool {
            bytes: bytes.map(|bytes| bytes as u64),
            always_region_bytes: None,
            replays: 1,
        })
    }

    fn pool(self, found: &FoundPool, program: Program) -> Option<Pool> {
        let (allocator, simulated) = match self {
            Self::Smallest(kind) => (kind.flag(), false),
            Self::FirstFit => (Kind::FirstFit.flag(), true),
            _ => return None,
        };
        let footprint = found
            .bytes
            .filter(|_| program.peak_bytes > 0)
            .map(|b| b as f64 / program.peak_bytes as f64);
        Some(Pool {
            allocator,
            smallest_region_bytes: found.bytes,
            always_region_bytes: found.always_region_bytes,
            footprint,
            replays: found.replays,
            simulated,
        })
    }
}

/// Runs all tasks, as many at once as there are cores. The results are in the tasks' order.
pub(super) fn on_all_cores<T: Sync, R: Send>(
    tasks: &[T],
    run: impl Fn(&T) -> Result<R, InputError> + Sync,
) -> Result<Vec<R>, InputError> {
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<(usize, Result<R, InputError>)>> = Mutex::new(Vec::new());
    let cores = thread::available_parallelism().map_or(1, usize::from).min(tasks.len());
    thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while let Some((index, task)) = {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    tasks.get(index).map(|task| (index, task))
                } {
                    let result = run(task);
                    if let Ok(mut results) = results.lock() {
                        results.push((index, result));
                    }
                }
            });
        }
    });
    let mut results = results.into_inner().map_err(|_| InputError("a search stopped".into()))?;
    results.sort_by_key(|&(index, _)| index);
    results.into_iter().map(|(_, result)| result).collect()
}

/// First fit with the header of the teaching free list: 16 bytes, and no block under 32.
fn first_fit(program: Program) -> Option<u64> {
    const GRANULE: u64 = 16;
    const HEADER: u64 = 1;
    let granules = |size: u64| size.div_ceil(GRANULE).max(1) + HEADER;
    let align = |align_log2: u8| (1u64 << align_log2.min(40)).div_ceil(GRANULE);
    let room = granules(program.peak_bytes as u64) * 4 + (1 << 16);
    let room = u32::try_from(room).ok()?;
    let mut space = Policy::FirstFit.over(program.cut, u64::from(room));
    let mut blocks: Vec<Option<(Handle, u64)>> = vec![None; program.allocations];
    let mut reach = 0;
    for &event in program.events {
        match event {
            Event::Alloc { id, size, align_log2, .. } => {
                let block = space.allocate(granules(size), align(align_log2))?;
                blocks[id as usize] = Some((block, align(align_log2)));
            }
            Event::Free { id } => {
                let (block, _) = blocks[id as usize].take()?;
                space.free(block);
                continue;
            }
            Event::Realloc { id, new_size } => {
                let (block, align) = blocks[id as usize]?;
                if !space.resize(block, granules(new_size)) {
                    let moved = space.allocate(granules(new_size), align)?;
                    space.free(block);
                    blocks[id as usize] = Some((moved, align));
                }
            }
        }
        let (block, _) = blocks[event.id() as usize]?;
        let (start, len) = space.extent(block);
        reach = reach.max(start + len);
    }
    Some(reach * GRANULE)
}

fn margin(
    program: Program,
    smallest: usize,
    percent: u64,
    tick: &(impl Fn() + Sync),
) -> Result<Margin, InputError> {
    let pool = (smallest as u64 * percent).div_ceil(100).next_multiple_of(8);
    let mut tightest = Tightest::default();
    let outcome = drive(Kind::Heap, program, pool as usize, &mut tightest)?;
    tick();
    Ok(Margin {
        percent_of_smallest: percent,
        region_bytes: pool,
        serves: outcome.is_some_and(|outcome| outcome.done == program.events.len()),
        spare_bytes: if tightest.spare_bytes == usize::MAX {
            pool
        } else {
            tightest.spare_bytes as u64
        },
        operation: tightest.event as u64 + 1,
        request_bytes: tightest.size_bytes,
    })
}

fn perturbed(tasks: &[Task], found: &[FoundPool]) -> Vec<Perturbed> {
    let of = |change: &'static str, is: fn(&Task) -> bool| {
        let matching = tasks.iter().zip(found).filter(|(task, _)| is(task));
        let mut region_bytes: Vec<u64> = matching.filter_map(|(_, found)| found.bytes).collect();
        region_bytes.sort_unstable();
        Perturbed { change, region_bytes }
    };
    let all = [
        of("every size 10 % larger", |task| *task == Task::AllLarger),
        of("sizes 0 to 20 % larger", |task| matches!(task, Task::SomeLarger(_))),
        of("lives up to 10 % longer", |task| matches!(task, Task::LongerLives(_))),
    ];
    all.into_iter().filter(|perturbed| !perturbed.region_bytes.is_empty()).collect()
}

fn maxima(program: Program) -> MaximaReport {
    let cut = program.cut;
    let maxima = Maxima::of(cut, program.events, program.allocations);
    let proved = maxima.safe();
    let apart = maxima.apart();
    let with_slabs = maxima::with_slabs(cut, program.events, program.allocations);
    let with_slabs = slabs::pool_for_maxima(cut, &with_slabs);
    MaximaReport {
        live_bytes: maxima.live * cut.granule_bytes,
        live_blocks: maxima.blocks,
        robson_floor_bytes: maxima.floor_bytes(),
        safe_region_bytes: proved.as_ref().map(|proved| proved.bytes),
        binding_request_bytes: proved.as_ref().map(|proved| proved.binding_bytes),
        most_gaps: proved.as_ref().map(|proved| proved.safe.gaps),
        longest_gap_bytes: proved.as_ref().map(|proved| proved.safe.gap * cut.granule_bytes),
        apart_pools: apart.map(|(pools, _)| pools as u64),
        apart_region_bytes: apart.map(|(_, bytes)| bytes),
        safe_with_slabs_region_bytes: with_slabs
            .and_then(|safe| cut.region_bytes_with_slabs(safe.safe.granules)),
        most_slabs: with_slabs.map(|safe| safe.slabs),
    }
}

/// One build's trace, for --ci.
#[derive(Serialize, JsonSchema)]
struct Build {
    trace: String,
    operations: u64,
    peak_live_bytes: u64,
    smallest_region_bytes: u64,
}

fn build(path: &Path) -> Result<Build, InputError> {
    let trace = open_complete(path)?;
    let program = Program::of(&trace);
    let progress = Progress::new("sizing", 10 * trace.events().len() as u64);
    let found = smallest(Kind::Heap, program, |_| progress.advance(trace.events().len() as u64))?;
    let found =
        found.ok_or_else(|| InputError(format!("{}: no pool is large enough", path.display())))?;
    Ok(Build {
        trace: path.display().to_string(),
        operations: trace.events().len() as u64,
        peak_live_bytes: program.peak_bytes as u64,
        smallest_region_bytes: found.smallest_region_bytes as u64,
    })
}

/// Two builds side by side.
#[derive(Serialize, JsonSchema)]
pub(super) struct Builds {
    base: Build,
    new: Build,
    growth_percent: f64,
    tolerance_percent: f64,
    grew: bool,
}

impl Builds {
    fn new(base: Build, new: Build, tolerance_percent: f64) -> Self {
        let growth_percent =
            (new.smallest_region_bytes as f64 / base.smallest_region_bytes as f64 - 1.0) * 100.0;
        Self {
            growth_percent,
            tolerance_percent,
            grew: growth_percent > tolerance_percent,
            base,
            new,
        }
    }
}

/// An allocation, for the tests of the modules.
#[cfg(test)]
fn alloc(id: u32, size: u64) -> Event {
    Event::Alloc { id, size, align_log2: 3, zeroed: false }
}
