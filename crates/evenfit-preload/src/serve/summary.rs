//! What a process says at its end.

use core::fmt;

use evenfit::Stats;

use super::memory::MEMORY;
use crate::out::line;
use crate::settings::{Summary, program_name};

/// Writes the summary of this process to where the settings say.
pub fn write(process_id: i32) {
    let (stats, used_once_bytes, largest_free_bytes) = MEMORY.state();
    let report = Report {
        process_id,
        stats,
        footprint_bytes: used_once_bytes + map_share_bytes(&stats, used_once_bytes),
        largest_free_bytes,
        smallest_failure_bytes: MEMORY.smallest_failure_bytes(),
    };
    match MEMORY.settings().summary {
        Summary::Nowhere => {}
        Summary::Stderr => line!("{report}").write_to(2),
        Summary::File => report.add_to_file(),
    }
}

/// The part of the metadata that describes the first `used_bytes` bytes of the pool.
fn map_share_bytes(stats: &Stats, used_bytes: usize) -> usize {
    let share = stats.metadata_bytes as u128 * used_bytes as u128 / stats.pool_bytes.max(1) as u128;
    share as usize
}

struct Report {
    process_id: i32,
    stats: Stats,
    /// What was ever used of the pool, and the map of that part.
    footprint_bytes: usize,
    largest_free_bytes: usize,
    smallest_failure_bytes: Option<usize>,
}

impl Report {
    fn add_to_file(&self) {
        let name = MEMORY.settings().file();
        // SAFETY: a C string, and a mode for the case that the file is new.
        let fd = unsafe {
            let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_APPEND | libc::O_CLOEXEC;
            libc::open(name.as_ptr(), flags, 0o600)
        };
        if fd < 0 {
            return;
        }
        line!("{}", Json(self)).write_to(fd);
        // SAFETY: opened above.
        unsafe { libc::close(fd) };
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stats {
            pool_bytes,
            metadata_bytes,
            peak_used_bytes,
            failed_requests,
            refused_frees,
            ..
        } = self.stats;
        let name = program_name().to_bytes();
        writeln!(
            f,
            "evenfit: {} ({}): peak {peak_used_bytes} bytes, footprint {} of {} bytes, largest free {} bytes",
            Name(name),
            self.process_id,
            self.footprint_bytes,
            pool_bytes + metadata_bytes,
            self.largest_free_bytes,
        )?;
        if let Some(bytes) = self.smallest_failure_bytes {
            writeln!(
                f,
                "evenfit: the pool was full: requests that failed: {failed_requests}, the smallest for {bytes} bytes"
            )?;
        }
        if refused_frees > 0 {
            writeln!(f, "evenfit: pointers refused: {refused_frees}")?;
        }
        Ok(())
    }
}

/// The report as one line of JSON.
struct Json<'a>(&'a Report);

impl fmt::Display for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report {
            process_id,
            stats,
            footprint_bytes,
            largest_free_bytes,
            smallest_failure_bytes,
        } = self.0;
        let name = Name(program_name().to_bytes());
        write!(f, "{{\"program\":\"{name}\",\"process_id\":{process_id}")?;
        write!(f, ",\"pool_bytes\":{}", stats.pool_bytes)?;
        write!(f, ",\"metadata_bytes\":{}", stats.metadata_bytes)?;
        write!(f, ",\"peak_used_bytes\":{}", stats.peak_used_bytes)?;
        write!(f, ",\"used_bytes\":{}", stats.used_bytes)?;
        write!(f, ",\"live_blocks\":{}", stats.live_blocks)?;
        write!(f, ",\"footprint_bytes\":{footprint_bytes}")?;
        write!(f, ",\"largest_free_bytes\":{largest_free_bytes}")?;
        write!(f, ",\"failed_requests\":{}", stats.failed_requests)?;
        match smallest_failure_bytes {
            Some(bytes) => write!(f, ",\"smallest_failure_bytes\":{bytes}")?,
            None => write!(f, ",\"smallest_failure_bytes\":null")?,
        }
        writeln!(f, ",\"refused_frees\":{}}}", stats.refused_frees)
    }
}

/// A program's name with what would break a line or a JSON string left out.
struct Name<'a>(&'a [u8]);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.0[..self.0.len().min(64)];
        for chunk in shown.utf8_chunks() {
            for part in chunk.valid().split(|c: char| c.is_control() || c == '"' || c == '\\') {
                f.write_str(part)?;
            }
        }
        Ok(())
    }
}
