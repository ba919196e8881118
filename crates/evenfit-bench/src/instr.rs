//! Instructions per operation, exact on a busy machine too. A child process of this program replays
//! the load under callgrind, which counts inside of `replay` only; the no-op's count is subtracted.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::load::{Kind, Load, Op};
use crate::peers::{self, About, Peer, Visitor};
use crate::region::Region;
use crate::replay::replay;
use crate::speed::Roomy;
use crate::table::Cell;
use crate::workload::{Missing, Workload};

/// The hidden subcommand that a child runs.
pub const CHILD: &str = "replay-child";

/// The limit of a replay is shorter under callgrind, where everything takes about fifty times as
/// long.
const LIMIT: Duration = Duration::from_secs(1);

/// A load written where children can read it; removed on drop.
pub struct SharedLoad {
    path: PathBuf,
    ops: usize,
}

impl SharedLoad {
    /// Writes the first `ops_max` operations of `load` into a temporary file.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn new(load: &Load, ops_max: usize) -> io::Result<Self> {
        let ops = &load.ops[..load.ops.len().min(ops_max)];
        let name = format!("evenfit-bench-{}-{}.ops", std::process::id(), load.name);
        let path = std::env::temp_dir().join(name);
        let shared = Self { path, ops: ops.len() };
        let mut bytes = Vec::with_capacity(ops.len() * 16 + 8);
        bytes.extend((load.slots as u64).to_le_bytes());
        for op in ops {
            bytes.extend(op.slot.to_le_bytes());
            bytes.extend(op.size.to_le_bytes());
            bytes.extend(op.old_size.to_le_bytes());
            bytes.extend([op.align_log2, op.kind as u8, 0, 0]);
        }
        fs::write(&shared.path, bytes)?;
        Ok(shared)
    }

    /// The number of its operations.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ops
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops == 0
    }
}

impl Drop for SharedLoad {
    fn drop(&mut self) {
        // It doesn't matter if the file is gone already.
        let _ = fs::remove_file(&self.path);
    }
}

/// Runs the child under callgrind, which writes to `out`; false when the child failed.
fn callgrind(name: &str, len_bytes: usize, shared: &SharedLoad, out: &Path) -> io::Result<bool> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--dump-line=yes", "--toggle-collect=*replay::replay*"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(std::env::current_exe()?)
        .args([CHILD, name, &len_bytes.to_string()])
        .arg(&shared.path)
        .output();
    let output = output.map_err(|e| {
        io::Error::new(e.kind(), format!("valgrind, for its callgrind, can't be run: {e}"))
    })?;
    Ok(output.status.success())
}

/// The instructions of a replay of `shared` with `name`, loop included.
///
/// # Errors
/// The inner: why there is no figure; the outer: callgrind could not be run.
pub fn total(
    name: &str,
    workload: &Workload,
    shared: &SharedLoad,
) -> io::Result<Result<u64, Missing>> {
    let len_bytes =
        match peers::with(name, &mut Roomy { workload, limit: LIMIT }).expect("a known name") {
            Ok(len_bytes) => len_bytes,
            Err(missing) => return Ok(Err(missing)),
        };
    let out = shared.path.with_extension(format!("{name}.callgrind"));
    let done = callgrind(name, len_bytes, shared, &out)?;
    let counts = fs::read_to_string(&out);
    let _ = fs::remove_file(&out);
    if !done {
        return Ok(Err(Missing::Valgrind));
    }
    let counts = counts?;
    counts
        .lines()
        .find_map(|line| line.strip_prefix("summary: ").or_else(|| line.strip_prefix("totals: ")))
        .and_then(|rest| rest.trim().parse().ok())
        .map(Ok)
        .ok_or_else(|| io::Error::other("callgrind wrote no summary"))
}

/// Which functions and lines execute the instructions: `callgrind_annotate`'s listing with sources.
///
/// # Errors
/// When callgrind or its annotator can't be run, or the allocator doesn't serve the load.
pub fn profile(name: &str, workload: &Workload, ops_max: usize) -> Result<String, String> {
    let load = workload.fixed().map_err(|_| "the adversary can't be profiled".to_owned())?;
    let len_bytes = peers::with(name, &mut Roomy { workload, limit: LIMIT }).expect("a known name");
    let len_bytes = len_bytes.map_err(|missing| format!("{name}: {}", missing.as_str()))?;
    let shared = SharedLoad::new(load, ops_max).map_err(|e| e.to_string())?;
    let out = shared.path.with_extension(format!("{name}.callgrind"));
    let done = callgrind(name, len_bytes, &shared, &out).map_err(|e| e.to_string())?;
    let listing =
        Command::new("callgrind_annotate").args(["--auto=yes", "--context=0"]).arg(&out).output();
    let _ = fs::remove_file(&out);
    if !done {
        return Err(format!("{name} does not run under valgrind"));
    }
    let listing = listing.map_err(|e| format!("callgrind_annotate can't be run: {e}"))?;
    Ok(format!("{} operations\n{}", shared.len(), String::from_utf8_lossy(&listing.stdout)))
}

/// Instructions per operation of each of `names`, in their order, less the no-op's.
///
/// # Errors
/// When callgrind can't be run.
pub fn measure(names: &[&str], workload: &Workload, ops_max: usize) -> io::Result<Vec<Cell>> {
    let load = match workload.fixed() {
        Ok(load) => load,
        Err(missing) => return Ok(vec![Err(missing); names.len()]),
    };
    let shared = SharedLoad::new(load, ops_max)?;
    let Ok(noop) = total("noop", workload, &shared)? else {
        return Err(io::Error::other(
            "the no-op replay failed under callgrind: is valgrind working?",
        ));
    };
    names
        .iter()
        .map(|name| {
            let total = total(name, workload, &shared)?;
            Ok(total.map(|total| (total as f64 - noop as f64) / shared.len() as f64))
        })
        .collect()
}

/// The child's work: it builds the allocator and replays once.
///
/// # Errors
/// When the load can't be read or isn't served.
pub fn child(name: &str, len_bytes: usize, path: &Path) -> Result<(), String> {
    let (ops, slots) = read_ops(path).ok_or_else(|| format!("{}: no load", path.display()))?;
    let load = Load { name: String::new(), ops, slots, peak_live_bytes: 0, peak_live_blocks: 0 };
    match peers::with(name, &mut Child { load: &load, len_bytes }) {
        Some(true) => Ok(()),
        Some(false) => Err(format!("{name} did not serve the load")),
        None => Err(format!("no allocator is called {name}")),
    }
}

fn read_ops(path: &Path) -> Option<(Vec<Op>, usize)> {
    let bytes = fs::read(path).ok()?;
    let (slots, rest) = bytes.split_first_chunk::<8>()?;
    let word = |bytes: &[u8], at: usize| {
        u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
    };
    let ops = rest
        .chunks_exact(16)
        .map(|op| Op {
            slot: word(op, 0),
            size: word(op, 4),
            old_size: word(op, 8),
            align_log2: op[12],
            kind: match op[13] {
                0 => Kind::Alloc,
                1 => Kind::Free,
                _ => Kind::Realloc,
            },
        })
        .collect();
    Some((ops, u64::from_le_bytes(*slots) as usize))
}

struct Child<'a> {
    load: &'a Load,
    len_bytes: usize,
}

impl Visitor for Child<'_> {
    type Out = bool;

    fn visit<P: Peer>(&mut self, _: About) -> bool {
        let Ok(region) = Region::untouched(self.len_bytes) else {
            return false;
        };
        let mut slots = vec![std::ptr::null_mut(); self.load.slots];
        // SAFETY: the region outlives the allocator and serves it alone; the parent wrote a
        // builder's load.
        unsafe {
            match P::over(region.base(), self.len_bytes) {
                None => false,
                Some(mut peer) => replay(&mut *peer, &self.load.ops, &mut slots),
            }
        }
    }
}
