//! What a process says at its end, when no command does.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use evenfit_trace::session::{PoolCounters, footprint_bytes};

use crate::out::line;
use crate::session;
use crate::settings::program_name;

/// Writes the summary of this process to standard error.
pub fn write(process_id: i32) {
    let report = Report { process_id, pool: &session::slot().pool };
    line!("{report}").write_to_stderr();
}

struct Report {
    process_id: i32,
    pool: &'static PoolCounters,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { process_id, pool } = self;
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let region_bytes = get(&pool.pool_bytes) + get(&pool.metadata_bytes);
        let footprint_bytes = footprint_bytes(
            get(&pool.pool_bytes),
            get(&pool.metadata_bytes),
            get(&pool.touched_bytes),
        );
        writeln!(
            f,
            "evenfit: {} ({process_id}): peak {} bytes, footprint {footprint_bytes} of {region_bytes} bytes, \
             largest free {} bytes",
            Name(program_name().to_bytes()),
            get(&pool.peak_used_bytes),
            get(&pool.largest_free_bytes),
        )?;
        let failed_requests = get(&pool.failed_requests);
        if failed_requests > 0 {
            let bytes = get(&pool.smallest_failure_bytes);
            writeln!(
                f,
                "evenfit: the pool was full: requests that failed: {failed_requests}, the smallest for {bytes} bytes"
            )?;
        }
        match get(&pool.refused_frees) {
            0 => Ok(()),
            count => writeln!(f, "evenfit: pointers refused: {count}"),
        }
    }
}

/// A program's name with what would break a line left out.
struct Name<'a>(&'a [u8]);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.0[..self.0.len().min(64)];
        for chunk in shown.utf8_chunks() {
            for part in chunk.valid().split(char::is_control) {
                f.write_str(part)?;
            }
        }
        Ok(())
    }
}
