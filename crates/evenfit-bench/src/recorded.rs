//! Recorded programs as loads.

use std::path::{Path, PathBuf};

use evenfit_trace::{Event, Trace};

use crate::load::{Load, LoadBuilder};

/// Reads a recording, in whichever format `evenfit-trace` understands.
///
/// # Errors
/// A sentence that names the file and what is wrong with it.
pub fn read(path: &Path) -> Result<Load, String> {
    let trace = Trace::open(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let mut slots = Vec::with_capacity(trace.allocations() as usize);
    let mut builder = LoadBuilder::default();
    for event in trace.events() {
        let size = |bytes: u64| {
            u32::try_from(bytes).map_err(|_| {
                format!(
                    "{}: a block of {bytes} bytes: at most 4 GiB can be replayed",
                    path.display()
                )
            })
        };
        match *event {
            Event::Alloc { size: bytes, align_log2, .. } => {
                slots.push(builder.alloc(size(bytes)?, align_log2))
            }
            Event::Free { id } => builder.free(slots[id as usize]),
            Event::Realloc { id, new_size } => builder.realloc(slots[id as usize], size(new_size)?),
        }
    }
    Ok(builder.finish(name(path)))
}

/// The recordings in a directory, by name.
///
/// # Errors
/// A sentence that names the directory.
pub fn list(dir: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = std::fs::read_dir(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| is_recording(path))
        .collect();
    paths.sort();
    Ok(paths)
}

/// A recording's name: its file's, up to the first dot.
#[must_use]
pub fn name(path: &Path) -> String {
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    file.split('.').next().unwrap_or_default().to_owned()
}

fn is_recording(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "evt")
}
