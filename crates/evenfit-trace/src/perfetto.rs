//! Writing a trace as Chrome's trace events in JSON, which Perfetto and `chrome://tracing` show.
//!
//! Live bytes and blocks are counters; blocks of at least a thousandth of the peak are spans from their allocation to their
//! free, named by size and call site. Where no time was recorded an operation takes a microsecond.

use std::io::{self, Write};

use crate::{Event, Trace};

/// Counters have at most so many points.
const POINTS_MAX: usize = 20_000;

/// Writes it all.
pub(crate) fn write(trace: &Trace, out: impl Write) -> io::Result<()> {
    let mut out = io::BufWriter::new(out);
    let hz = trace.header().tick_hz;
    let events = trace.events().len();
    let least = trace.info().peak_live_bytes / 1000;
    let stride = events.div_ceil(POINTS_MAX).max(1);
    let mut blocks: Vec<(u64, f64, u32, u32)> = vec![(0, 0.0, 0, 0); trace.allocations() as usize];
    let (mut live_bytes, mut live_blocks) = (0u64, 0u64);
    let mut now = 0.0;
    writeln!(out, "{{\"displayTimeUnit\":\"ms\",\"traceEvents\":[")?;
    write!(
        out,
        "{{\"ph\":\"M\",\"pid\":1,\"name\":\"process_name\",\"args\":{{\"name\":\"allocations\"}}}}"
    )?;
    for (index, record) in trace.records().enumerate() {
        now = match hz {
            0 => index as f64,
            hz => record.time as f64 * 1e6 / hz as f64,
        };
        let id = record.event.id() as usize;
        let before = blocks[id].0;
        match record.event {
            Event::Alloc { size, .. } => {
                blocks[id] = (size, now, record.site, record.thread);
                live_bytes += size;
                live_blocks += 1;
            }
            Event::Free { .. } => {
                live_bytes -= before;
                live_blocks -= 1;
                span(&mut out, trace, id, blocks[id], now, least)?;
                blocks[id].0 = 0;
            }
            Event::Realloc { new_size, .. } => {
                live_bytes = live_bytes - before + new_size;
                blocks[id].0 = new_size;
            }
        }
        if index % stride == 0 || index + 1 == events {
            write!(
                out,
                ",\n{{\"ph\":\"C\",\"pid\":1,\"name\":\"live bytes\",\"ts\":{now:.3},\"args\":{{\"bytes\":{live_bytes}}}}}\
                 ,\n{{\"ph\":\"C\",\"pid\":1,\"name\":\"live blocks\",\"ts\":{now:.3},\"args\":{{\"blocks\":{live_blocks}}}}}"
            )?;
        }
    }
    for (id, &block) in blocks.iter().enumerate() {
        // What was never freed lives to the end.
        span(&mut out, trace, id, block, now, least)?;
    }
    writeln!(out, "\n]}}")?;
    out.flush()
}

/// A block's life, if it is large enough to be shown.
fn span(
    out: &mut impl Write,
    trace: &Trace,
    id: usize,
    (size, born, site, thread): (u64, f64, u32, u32),
    now: f64,
    least: u64,
) -> io::Result<()> {
    if size == 0 || size < least {
        return Ok(());
    }
    let name = trace.site(site).map_or("", |site| site.name.as_str());
    // Spans that overlap and don't nest need a track each: asynchronous ones have it.
    for (phase, at) in [("b", born), ("e", now)] {
        write!(
            out,
            ",\n{{\"ph\":\"{phase}\",\"cat\":\"block\",\"pid\":1,\"tid\":{thread},\"id\":{id},\"ts\":{at:.3},\"name\":\"{size} bytes {}\"}}",
            escaped(name)
        )?;
    }
    Ok(())
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out
}
