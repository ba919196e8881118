//! The table, as Markdown.

use std::collections::BTreeMap;
use std::fmt::Write;

use evenfit::{Aligned, BlocksOnly, Compact, Geometry, Standard, Tiers, WithSlabs};

use super::case::{Case, MISUSES};
use super::metadata::{OPERATIONS, flip_free, flip_links, flip_metadata};
use super::outcome::Outcome;

/// An outcome and, of evenfit, the error that it named.
pub type Answer = (Outcome, String);

/// What each allocator answered to each case.
pub type Answers = BTreeMap<(String, String), Answer>;

/// The document.
pub fn document(peers: &[&str], answers: &Answers) -> String {
    let mut text = String::from(HEAD);
    let answer = |peer: &str, case: Case| &answers[&(peer.to_owned(), case.argument())];

    text.push_str("\n## Wrong calls\n\n");
    head(&mut text, "a free that is wrong", peers);
    for (number, name) in MISUSES.iter().enumerate() {
        let cells = peers.iter().map(|peer| {
            if !Case::Misuse(number).applies_to(peer) {
                return "-".to_owned();
            }
            let (outcome, error) = answer(peer, Case::Misuse(number));
            if error.is_empty() { bold(*outcome) } else { format!("{outcome}: `{error}`") }
        });
        row(&mut text, name, cells);
    }
    row(
        &mut text,
        "**refused or stopped**",
        peers.iter().map(|peer| {
            let outcomes: Vec<_> = (0..MISUSES.len())
                .map(Case::Misuse)
                .filter(|case| case.applies_to(peer))
                .map(|case| answer(peer, case).0)
                .collect();
            let good = outcomes.iter().filter(|outcome| **outcome <= Outcome::Stopped).count();
            format!("{good} of {}", outcomes.len())
        }),
    );

    text.push_str("\n## Memory overwritten after it was freed, or beyond a block's end\n\n");
    head(&mut text, "what was written", peers);
    row(
        &mut text,
        "each byte of a freed block of 64, inverted in turn",
        peers.iter().map(|peer| {
            let outcomes = (0..64).map(|at| answer(peer, Case::FlipByte(at)).0);
            counts(outcomes)
        }),
    );
    for (name, case) in [
        ("a freed block, zeroed", Case::Fill(0)),
        ("a freed block, filled with 0xFF", Case::Fill(0xFF)),
        ("a freed block, filled with 0x41", Case::Fill(0x41)),
        ("a freed block, filled with a live block's address", Case::FillPointer),
        ("1 byte behind a live block", Case::Overflow(1)),
        ("8 bytes behind a live block", Case::Overflow(8)),
        ("16 bytes behind a live block", Case::Overflow(16)),
    ] {
        row(
            &mut text,
            name,
            peers.iter().map(|peer| {
                let (outcome, error) = answer(peer, case);
                let seen =
                    if error.is_empty() { String::new() } else { format!(", then `{error}`") };
                format!("{}{seen}", bold(*outcome))
            }),
        );
    }
    text.push_str(&integrity());
    text
}

fn head(text: &mut String, first: &str, peers: &[&str]) {
    let names = peers.join(" | ");
    let _ = writeln!(text, "| {first} | {names} |\n|---|{}", "---|".repeat(peers.len()));
}

fn row(text: &mut String, name: &str, cells: impl Iterator<Item = String>) {
    let cells: Vec<_> = cells.collect();
    let _ = writeln!(text, "| {name} | {} |", cells.join(" | "));
}

fn bold(outcome: Outcome) -> String {
    if outcome.is_harm() { format!("**{outcome}**") } else { outcome.to_string() }
}

/// How often each outcome occurred, the worst last.
fn counts(outcomes: impl Iterator<Item = Outcome>) -> String {
    let outcomes: Vec<_> = outcomes.collect();
    let counted = Outcome::ALL.iter().filter_map(|outcome| {
        let count = outcomes.iter().filter(|other| *other == outcome).count();
        (count > 0).then(|| format!("{} {count}", bold(*outcome)))
    });
    counted.collect::<Vec<_>>().join(", ")
}

fn integrity() -> String {
    let mut text = format!(
        "\n## What evenfit's `check` sees\n\n\
         One bit at a time is flipped in a heap of used and free blocks, among them a slab without a free\n\
         slot; `check` is called, and the bit is flipped back. Where `check` named nothing, the same is done\n\
         to a heap in which {OPERATIONS} requests and frees follow: *without meaning* are the bits where every\n\
         answer was the same as without the flip, *missed* all others.\n\n\
         | heap | where | bits flipped | named by `check` | without meaning | missed |\n\
         |---|---|--:|--:|--:|--:|\n",
    );
    integrity_of::<BlocksOnly, Standard>(&mut text, "evenfit-blocks");
    integrity_of::<BlocksOnly, Compact>(&mut text, "evenfit-compact");
    integrity_of::<WithSlabs, Standard>(&mut text, "evenfit-slabs");
    integrity_of::<WithSlabs, Aligned>(&mut text, "evenfit-aligned");
    text.push_str(TAIL);
    text
}

fn integrity_of<T: Tiers, G: Geometry>(text: &mut String, heap: &str) {
    for (place, report) in [
        ("what lies before the pool", flip_metadata::<T, G>()),
        ("links and lengths of free blocks", flip_links::<T, G>()),
        ("the rest of free blocks", flip_free::<T, G>()),
    ] {
        let _ = writeln!(
            text,
            "| {heap} | {place} | {} | {} | {} | {} |",
            report.flips,
            report.named,
            report.unread,
            report.missed()
        );
    }
}

const HEAD: &str = "# What allocators answer to misuse

Generated by `cargo run --release -p evenfit-bench -- misuse`; do not edit. Each case is a process
of its own, in a release build, over a pool of 256 KiB (glibc: all memory). After the deed come
3,000 requests and frees, watched from outside: whether blocks overlap or leave the pool, and
whether what was written to live blocks is still there. Then everything is freed, and half the pool
is asked for again.

- *refused*: not one byte of the pool changed, and all went well afterwards (evenfit: with the error
  it named)
- *stopped*: the allocator ended the program on purpose: a panic or an abort
- *accepted*: taken for a right call; nothing bad was seen afterwards
- *memory lost*: requests failed afterwards although memory was free
- **contents changed**: a live block lost what its owner wrote
- **overlap**: memory in use, or outside of the pool, was handed out
- **crash**, **hang**: an invalid access; no answer within 10 s

- *-*: the case means nothing here: glibc has no pool, and glibc and o1heap know no alignment on a
  free

talc, rlsf, linked_list, buddy and dlmalloc are told the layout, as Rust's `dealloc` is;
good_memory, o1heap and glibc only the pointer, so a wrong size is none to them: *accepted* is then
the right answer. Where a call with a wrong layout had an effect, the block counts as freed. A crash
may come later than the call, in the 3,000 that follow. evenfit-blocks is
`Heap<BlocksOnly, Standard>`, evenfit-compact `Heap<BlocksOnly, Compact>`, evenfit-slabs
`Heap<WithSlabs, Standard>` and evenfit-aligned `Heap<WithSlabs, Aligned>`. In a heap of blocks a
list whose first block was overwritten stays as it is: requests of its sizes answer `Corrupt` from
then on, which counts as *memory lost* here.
";

const TAIL: &str = "
`check` doesn't name bits that make no difference to correct calls:

- the content of free memory beyond links and length;
- entries of the directory where no long block begins, which are written before they are read;
- the map before the first granule and behind the last;
- in the heads of the classes' lists, all but their links, classes and free bits, and the heads of
  classes that don't exist;
- in a slab's descriptor, the links of a slab without a free slot, which is on no list, and the
  smallest class that it accepts a free of. A smaller class makes a wrong size go unnoticed.

The bins, the counters and the records of the classes live in the `Heap` value, outside of the
region.
";
