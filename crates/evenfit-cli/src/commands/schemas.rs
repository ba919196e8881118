//! The schemas of all JSON answers, made from their types.

use schemars::transform::{RecursiveTransform, Transform as _};
use schemars::{JsonSchema, Schema, schema_for};
use serde_json::Value;

use super::{bound, compare, info, replay, report, size, top};
#[cfg(target_os = "linux")]
use super::{record, run};
use crate::output::Json;

/// A kind of JSON answer.
pub struct Answer {
    /// Its name, in the answer's field `schema`.
    pub name: &'static str,
    /// What gives it.
    pub command: &'static str,
    /// Its JSON Schema.
    pub schema: Schema,
}

/// What a field of this name means, wherever it has no description of its own. So the same name
/// means the same in every answer.
const MEANINGS: &[(&str, &str)] = &[
    ("align_bytes", "Alignment that was asked for."),
    ("alignments", "How often each alignment was asked for."),
    ("allocations", "Operations that allocate."),
    ("allocator", "The allocator, as `--allocator` names it."),
    ("apart", "Separate pools for some of the sites, if that is cheaper than one pool."),
    ("apart_max", "The same share at most."),
    ("apart_region_bytes", "Several pools together, divided by size; null if one is as good."),
    ("blocks", "How many blocks."),
    ("bytes", "Their bytes."),
    ("call_sites", "Different call sites."),
    ("change", "How the program was changed."),
    ("check_every", "Operations between two full checks; null without `--check-every`."),
    ("contract", "The contract's file."),
    ("count", "How often."),
    ("does", "What the policy does, in a sentence."),
    ("exhaustive", "The result of trying every program; null if that was not requested."),
    ("exit_code", "The program's; 128 and the signal's number if a signal ended it."),
    ("facts", "What the recording says about itself."),
    ("failed_requests", "Requests for memory that failed."),
    ("file", "The file."),
    ("first", "The least value that is counted here."),
    ("fits", "Whether every operation succeeded."),
    ("footprint", "Region / peak live bytes; null if it doesn't fit or nothing was live."),
    ("footprint_bytes", "The part of the pool that was ever used, and its share of the metadata."),
    ("formula", "The formula of the safe pool: see `docs/bounds.md`."),
    ("free_bytes", "Free bytes, in one piece or in many."),
    ("frees", "Operations that free."),
    ("geometry", "The heap's geometry; null for one of its own."),
    ("granule_bytes", "The unit of all blocks."),
    ("grew", "Whether it grew by more than the tolerance."),
    ("growth_percent", "By how much the new smallest region is larger."),
    ("grown", "Reallocations to more bytes."),
    ("id", "Its number in the recording."),
    (
        "incomplete",
        "What is missing from the recording, which may have needed more memory; null in a whole one.",
    ),
    ("key", "The name of the fact."),
    ("kind", "`free`, `live` or `slab`."),
    ("largest_free_at_end_bytes", "The largest request that would have succeeded at the end."),
    ("largest_free_at_peak_bytes", "The same when most bytes were live."),
    ("largest_free_bytes", "The largest request that would succeed."),
    ("largest_request_bytes", "The largest request of the program."),
    ("last", "The greatest value that is counted here."),
    ("lifetimes", "Operations from a block's allocation to its free, counted by powers of two."),
    ("live_blocks", "Blocks live."),
    ("live_bytes", "Requested bytes live."),
    ("location", "File and line, or the module; empty if unknown."),
    ("longest_gap_bytes", "The longest free piece that such a request can't use."),
    ("looked_at_max", "The same at most."),
    ("margins", "What larger pools leave over."),
    ("max", "All of them."),
    ("maxima", "The program's maxima, and the pools that are safe for all programs with the same."),
    ("mended", "What was wrong with the recording and was repaired; null if nothing was."),
    ("metadata_bytes", "The part of the region that describes the pool."),
    ("method", "How the program was found."),
    ("most_gaps", "How many free pieces there may be that the search can't use."),
    ("most_live_blocks", "Blocks that may be live at once."),
    ("most_live_bytes", "Bytes that may be live at once."),
    ("most_slabs", "Slabs that there may be at once; null without slabs."),
    ("name", "A call site, or a range of sizes if none was recorded."),
    ("never_freed_blocks", "Blocks that were live at the end."),
    ("never_freed_bytes", "Requested bytes that were live at the end."),
    ("never_used_bytes", "Bytes of the pool that no block ever covered."),
    ("operation", "The number of the operation."),
    ("operations", "Operations of the program."),
    ("operations_done", "Operations until it ended or failed."),
    ("operations_per_second", "Null if checks took part of the time."),
    ("p50", "Half of the operations took at most this."),
    ("p90", "90 % of them."),
    ("p99", "99 % of them."),
    ("p99_9", "99.9 % of them."),
    ("peak", "When most bytes were live."),
    ("peak_live_blocks", "Blocks live when most requested bytes were."),
    ("peak_live_bytes", "Most requested bytes live at once."),
    ("peak_used_bytes", "Most bytes in blocks at once, as rounded."),
    ("percent_of_smallest", "The region's size beside the smallest one's."),
    ("perturbed", "What slightly different programs need."),
    ("places_shown", "How many of them the page draws."),
    ("policies", "One for each policy."),
    ("policy", "The policy's name."),
    ("pool_bytes", "The pool: what blocks are cut from, without metadata."),
    ("pool_human", "The region's size, for people."),
    (
        "pool_is_safe",
        "Whether no program that keeps the contract can fail in it; null without `--pool`.",
    ),
    ("pools", "One for each pool."),
    ("process_id", "The process's number."),
    ("program", "The program's name."),
    ("reallocations", "Operations that reallocate."),
    ("recordings", "One for each process that was recorded."),
    ("refused_frees", "Pointers that were refused as misuse."),
    ("region_bytes", "The region: the pool and its metadata."),
    ("replays", "How many replays the search took."),
    ("request_bytes", "What that operation asks for."),
    (
        "robson_floor_bytes",
        "The pool below which no allocator serves all programs with these maxima.",
    ),
    ("runs", "How many runs were timed; the shortest time of each operation counts."),
    ("safe", "The pool in which no program that keeps the contract can fail."),
    ("seconds", "How long the recording took; null if its clock is unknown."),
    ("share_of_safe", "Its region beside the safe one's."),
    ("share_served", "The share of the program's requests that would succeed."),
    ("shrunk", "Reallocations to fewer bytes."),
    ("sites", "The call sites, or the contract's."),
    ("sizes", "Requested sizes, counted by powers of two."),
    ("smallest_failure_bytes", "The smallest request that failed; null if none did."),
    ("smallest_pool_bytes", "The smallest pool that serves the program, headers and maps aside."),
    ("smallest_region_bytes", "The smallest region that serves the program."),
    ("states", "Different states of the pool."),
    ("steps_over", "Operations that the steps divide."),
    ("threads", "Threads that were recorded."),
    ("tolerance_percent", "By how much it may grow."),
    ("trace", "The recording's file."),
    ("transitions", "Operations tried in them."),
    ("used_bytes", "Bytes in live blocks, as rounded."),
    ("value", "Its value."),
    ("verified", "Whether the content of every block was checked."),
    ("zeroed", "Allocations of zeroed memory."),
];

fn answer<T: JsonSchema>(name: &'static str, command: &'static str) -> Answer {
    let mut schema = schema_for!(Json<T>);
    RecursiveTransform(explain).transform(&mut schema);
    Answer { name, command, schema }
}

/// Describes the fields of this object that have no description.
fn explain(schema: &mut Schema) {
    let Some(fields) = schema.get_mut("properties").and_then(Value::as_object_mut) else { return };
    for (name, field) in fields {
        let meaning = MEANINGS.iter().find(|(known, _)| known == name);
        if let (Some((_, meaning)), Some(field)) = (meaning, field.as_object_mut()) {
            field.entry("description").or_insert_with(|| Value::from(*meaning));
        }
    }
}

/// All kinds of JSON answers.
pub fn all() -> Vec<Answer> {
    vec![
        answer::<info::Info<'_>>("info", "evenfit info TRACE --json"),
        answer::<replay::Report>("replay", "evenfit replay TRACE --json"),
        answer::<size::AllSized>("size", "evenfit size TRACE --json"),
        answer::<size::Builds>("size-ci", "evenfit size --ci BASE NEW --json"),
        answer::<bound::Report>("bound", "evenfit bound CONTRACT --json"),
        answer::<report::Summary>("report", "evenfit report TRACE --json"),
        answer::<compare::Report>("compare", "evenfit compare TRACE --json"),
        #[cfg(target_os = "linux")]
        answer::<run::Summary>("run", "evenfit run --json -- PROGRAM"),
        #[cfg(target_os = "linux")]
        answer::<record::Summary>("record", "evenfit record --json -- PROGRAM"),
        answer::<top::RecordingNow>("top-recording", "evenfit top TRACE --at MOMENT --json"),
        #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
        answer::<top::ProcessNow>("top-process", "evenfit top PID --at now --json"),
        #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
        answer::<top::ProcessList>("top-list", "evenfit top --list --json"),
    ]
}
