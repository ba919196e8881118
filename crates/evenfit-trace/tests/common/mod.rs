//! Shared code of the tests: random valid programs and hand-made files.
#![allow(dead_code, reason = "each test uses a part")]

use evenfit_trace::format::{self, Header};
use evenfit_trace::{Event, Record, Trace, TraceBuilder};
use proptest::prelude::*;

/// A choice made without knowing what is live: `build` turns it into a valid event.
#[derive(Clone, Debug)]
pub struct Choice {
    kind: u8,
    pick: prop::sample::Index,
    size: u64,
    align_log2: u8,
    zeroed: bool,
    ticks: u64,
    thread: u32,
    site: u32,
}

pub fn choices(most: usize) -> impl Strategy<Value = Vec<Choice>> {
    let size = prop_oneof![0..300u64, 0..1_000_000u64, Just(0), 0..1u64 << 39];
    let ticks = prop_oneof![3 => Just(0u64), 2 => 0..1000u64, 1 => 0..1u64 << 50];
    let thread = prop_oneof![4 => 0..3u32, 1 => any::<u32>()];
    let site = prop_oneof![4 => 0..9u32, 1 => any::<u32>()];
    let align = prop_oneof![3 => Just(3u8), 1 => 0..=format::ALIGN_LOG2_MAX];
    let choice =
        (0..6u8, any::<prop::sample::Index>(), size, align, any::<bool>(), ticks, thread, site)
            .prop_map(|(kind, pick, size, align_log2, zeroed, ticks, thread, site)| Choice {
                kind,
                pick,
                size,
                align_log2,
                zeroed: zeroed && kind == 0,
                ticks,
                thread,
                site,
            });
    prop::collection::vec(choice, 0..most)
}

/// A valid program made of the choices.
pub fn build(header: Header, choices: &[Choice]) -> Trace {
    let mut builder = TraceBuilder::new(header);
    let (mut live, mut time) = (Vec::new(), 0);
    for choice in choices {
        time += choice.ticks;
        let event = if choice.kind < 3 || live.is_empty() {
            let id = builder.allocations();
            live.push(id);
            Event::Alloc {
                id,
                size: choice.size,
                align_log2: choice.align_log2,
                zeroed: choice.zeroed,
            }
        } else if choice.kind == 3 {
            Event::Realloc { id: *choice.pick.get(&live), new_size: choice.size }
        } else {
            Event::Free { id: live.swap_remove(choice.pick.index(live.len())) }
        };
        builder.push(Record { event, time, thread: choice.thread, site: choice.site }).unwrap();
    }
    builder.finish()
}

/// A chunk with a checksum that holds.
pub fn chunk(kind: u8, codec: u8, sequence: u16, stored: &[u8], raw_len: u32) -> Vec<u8> {
    let mut bytes = format::chunk_header(kind, codec, sequence, stored, raw_len).to_vec();
    bytes.extend_from_slice(stored);
    bytes
}

/// A file of one stored chunk of events and an end that claims `events` and `allocations`.
pub fn file(kind: u8, entries: &[u8], events: u64, allocations: u64) -> Vec<u8> {
    let mut bytes = Header::default().to_bytes().to_vec();
    bytes.extend(chunk(kind, format::codec::STORED, 0, entries, entries.len() as u32));
    let mut totals = number(events);
    totals.extend(number(allocations));
    bytes.extend(chunk(format::chunk::END, format::codec::STORED, 1, &totals, totals.len() as u32));
    bytes
}

/// A number as the format writes it.
pub fn number(value: u64) -> Vec<u8> {
    let mut out = [0; format::LEB_BYTES_MAX];
    let len = format::leb128(value, &mut out);
    out[..len].to_vec()
}

/// The number that begins an event.
pub fn entry(kind: u8, operand: u64) -> Vec<u8> {
    number(operand << 3 | kind as u64)
}

/// The peak memory of this process in MiB; `None` if the system doesn't say.
pub fn peak_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? / 1024)
}
