//! The table, as Markdown.

use std::collections::BTreeMap;
use std::fmt::Write;

use evenfit::{Aligned, BlocksOnly, Compact, Geometry, Standard, Tiers, WithSlabs};

use super::case::{Case, MISUSES};
use super::metadata::{OPERATIONS, flip_free, flip_links, flip_metadata};
use super::outcome::Outcome;

/// An outcome and, of evenfit, the error that it named.
pub type Answer = (Outcome, String);

/// The answer of each allocator to each case.
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
         A heap has used and free blocks, and a slab without a free slot. One bit at a time is flipped,\n\
         `check` is called, and the bit is flipped back. If `check` named nothing, the bit is flipped again,\n\
         and {OPERATIONS} requests and frees follow. A bit is *without meaning* if all their results are the same\n\
         as without the flip; otherwise it is *missed*.\n\n\
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

For whoever asks what happens after a double free or an overrun: evenfit beside other allocators.

Generated by `cargo run --release -p evenfit-bench -- misuse`; do not edit. Each case runs in its
own process, in a release build, with a pool of 256 KiB (glibc: all memory). After the misuse,
3,000 requests and frees follow. The program observes whether blocks overlap or leave the pool, and
whether live blocks keep their contents. Then it frees everything, and requests half the pool.

- *refused*: no byte of the pool changed, and all went well afterwards (evenfit: with the error
  that it named)
- *stopped*: the allocator ended the program on purpose: a panic or an abort
- *accepted*: treated as a correct call; no harm was seen afterwards
- *memory lost*: requests failed afterwards although memory was free
- **contents changed**: a live block lost its contents
- **overlap**: memory in use, or outside of the pool, was allocated
- **crash**, **hang**: an invalid access; no answer within 10 s

- *-*: not applicable: glibc has no pool, and a free of glibc and o1heap gets no alignment

talc, rlsf, linked_list, buddy and dlmalloc get the layout with each free, as Rust's `dealloc` does.
good_memory, o1heap and glibc get only the pointer, so they can't see a wrong size, and *accepted*
is then the correct answer. If a call with a wrong layout had an effect, the block counts as freed.
A crash may come later than the call, in the 3,000 that follow. evenfit-blocks is
`Heap<BlocksOnly, Standard>`, evenfit-compact `Heap<BlocksOnly, Compact>`, evenfit-slabs
`Heap<WithSlabs, Standard>` and evenfit-aligned `Heap<WithSlabs, Aligned>`. In a heap of blocks a
list whose first block was overwritten stays as it is. Requests of its sizes then return `Corrupt`,
which counts as *memory lost* here.
";

const TAIL: &str = "
`check` doesn't name bits that make no difference to correct calls:

- the content of free memory, except links and lengths;
- entries of the directory where no long block begins: they are written before they are read;
- the map before the first granule and behind the last;
- in the heads of the classes' lists, everything except links, classes and free bits; and the heads
  of classes that don't exist;
- in a slab's descriptor, the links if the slab has no free slot, since it is then in no list; and
  the smallest class that a free of its slots may have. If that is too small, a wrong size isn't
  noticed.

The bins, the counters and the records of the classes are in the `Heap` value, outside the region.
";
