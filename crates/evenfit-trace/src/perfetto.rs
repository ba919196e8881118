//! Writing a trace as Chrome's trace events in JSON, which Perfetto and `chrome://tracing` show.
//!
//! Live bytes and blocks are counters; blocks of at least a thousandth of the peak are spans from
//! their allocation to their free, named by size and call site. Where no time was recorded an
//! operation takes a microsecond.

use std::io::{self, Write};

use serde_json::{Value, json};

use crate::{Event, Record, Trace};

/// The most points of a counter.
const POINTS_MAX: usize = 20_000;

/// A block from its allocation on.
#[derive(Clone, Copy, Default)]
struct Life {
    /// Bytes asked for; 0 when it is not live.
    size: u64,
    born_us: f64,
    site: u32,
    thread: u32,
}

/// The file, event by event.
struct Events<'t, W> {
    trace: &'t Trace,
    out: W,
    /// Smaller blocks are not shown.
    size_min: u64,
}

/// Writes it all.
pub(crate) fn write(trace: &Trace, out: impl Write) -> io::Result<()> {
    let hz = trace.header().tick_hz;
    let count = trace.events().len();
    let stride = count.div_ceil(POINTS_MAX).max(1);
    let mut lives = vec![Life::default(); trace.allocations() as usize];
    let (mut live_bytes, mut live_blocks) = (0u64, 0u64);
    let mut now = 0.0;
    let mut events = Events {
        trace,
        out: io::BufWriter::new(out),
        size_min: trace.info().peak_live_bytes / 1000,
    };
    write!(events.out, r#"{{"displayTimeUnit":"ms","traceEvents":["#)?;
    let name = match trace.incomplete().next() {
        None => "allocations",
        Some(_) => "allocations (INCOMPLETE RECORDING)",
    };
    let process = json!({
        "ph": "M", "pid": 1, "name": "process_name", "args": {"name": name},
    });
    serde_json::to_writer(&mut events.out, &process)?;
    for (index, record) in trace.records().enumerate() {
        now = match hz {
            0 => index as f64,
            hz => record.time as f64 * 1e6 / hz as f64,
        };
        let id = record.event.id() as usize;
        let before = lives[id].size;
        match record.event {
            Event::Alloc { size, .. } => {
                let Record { site, thread, .. } = record;
                lives[id] = Life { size, born_us: now, site, thread };
                live_bytes += size;
                live_blocks += 1;
            }
            Event::Free { .. } => {
                live_bytes -= before;
                live_blocks -= 1;
                events.span(id, lives[id], now)?;
                lives[id].size = 0;
            }
            Event::Realloc { new_size, .. } => {
                live_bytes = live_bytes - before + new_size;
                lives[id].size = new_size;
            }
        }
        if index % stride == 0 || index + 1 == count {
            events.counter("live bytes", now, json!({"bytes": live_bytes}))?;
            events.counter("live blocks", now, json!({"blocks": live_blocks}))?;
        }
    }
    for (id, &life) in lives.iter().enumerate() {
        // Blocks that were never freed live to the end.
        events.span(id, life, now)?;
    }
    writeln!(events.out, "\n]}}")?;
    events.out.flush()
}

impl<W: Write> Events<'_, W> {
    fn push(&mut self, event: &Value) -> io::Result<()> {
        self.out.write_all(b",\n")?;
        Ok(serde_json::to_writer(&mut self.out, event)?)
    }

    fn counter(&mut self, name: &str, now_us: f64, values: Value) -> io::Result<()> {
        let ts = nanoseconds(now_us);
        self.push(&json!({"ph": "C", "pid": 1, "name": name, "ts": ts, "args": values}))
    }

    /// A block's lifetime, if it is large enough to be shown.
    fn span(&mut self, id: usize, life: Life, now_us: f64) -> io::Result<()> {
        if life.size == 0 || life.size < self.size_min {
            return Ok(());
        }
        let site = self.trace.site(life.site).map_or("", |site| &site.name);
        let name = format!("{} bytes {site}", life.size);
        // Spans that overlap without nesting need separate tracks, which asynchronous spans have.
        for (phase, at_us) in [("b", life.born_us), ("e", now_us)] {
            self.push(&json!({
                "ph": phase, "cat": "block", "pid": 1, "tid": life.thread, "id": id,
                "ts": nanoseconds(at_us), "name": name,
            }))?;
        }
        Ok(())
    }
}

/// A time in microseconds, cut to whole nanoseconds.
fn nanoseconds(us: f64) -> f64 {
    (us * 1e3).round() / 1e3
}
