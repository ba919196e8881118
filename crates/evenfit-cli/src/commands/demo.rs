//! `evenfit demo`: a pool of 1,024 bytes step by step, first with the free list, then with the
//! heap.

use std::alloc::Layout;
use std::fmt::Write as _;
use std::ops::Range;
use std::ptr::NonNull;

use anstyle::{AnsiColor, Style};
use evenfit::Heap;
use evenfit::{AllocError, BlockState, FreeError, Stats};
use evenfit_bound::Cut;
use evenfit_trace::replay::{Allocator, Piece};

use crate::allocator::{Kind, Visit};
use crate::output::{Answer, BAD, FAINT, InputError, STRONG, Table};
use crate::region::Region;
use crate::size::counted;

/// Watch 1,024 bytes being split, freed and coalesced: with the free list, then with the heap.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  evenfit demo\n  evenfit demo | less")]
pub struct Args {}

const REGION_BYTES: usize = 1024;
/// One column of the picture.
const CELL_BYTES: usize = 16;
const CELLS: usize = REGION_BYTES / CELL_BYTES;

/// What happens, to both.
const STORY: [Step; 10] = [
    Step::Allocate('A', 100),
    Step::Allocate('B', 200),
    Step::Allocate('C', 60),
    Step::Free('B'),
    Step::Allocate('D', 40),
    Step::Free('A'),
    Step::Free('D'),
    Step::Free('D'),
    Step::FreeInside('C'),
    Step::Free('C'),
];

/// The step of [`STORY`] after which most blocks are live, counted from 1.
const THREE_LIVE: usize = 3;

enum Step {
    Allocate(char, usize),
    Free(char),
    FreeInside(char),
}

impl Args {
    pub(super) fn run(self) -> Result<Answer, InputError> {
        let mut out = format!(
            "{STRONG}One pool of 1,024 bytes.{STRONG:#} A column is 16 bytes: \
             {FAINT}▒{FAINT:#} metadata, █ in use, {FAINT}·{FAINT:#} free.\n"
        );
        let first_fit = tell(Kind::FirstFit, &mut out)?;
        let heap = tell(Kind::Heap, &mut out)?;
        let _ =
            write!(out, "\n{STRONG}What it cost{STRONG:#}\n\n{}", comparison(&first_fit, &heap));
        Ok(Answer::yes(out))
    }
}

/// What the story has shown of one allocator.
struct Lesson {
    metadata_empty_bytes: usize,
    metadata_three_live_bytes: usize,
    largest_request_bytes: usize,
    one_byte_takes_bytes: usize,
    double_free: String,
}

/// Tells the story with one allocator.
fn tell(kind: Kind, out: &mut String) -> Result<Lesson, InputError> {
    struct Teller<'a> {
        kind: Kind,
        region_start: usize,
        out: &'a mut String,
    }
    impl Visit for Teller<'_> {
        type Output = Result<Lesson, AllocError>;

        fn visit<A: Allocator>(self, allocator: A) -> Self::Output {
            Stage::new(allocator, self.region_start, self.out).play(self.kind)
        }
    }
    let mut memory = Region::new(REGION_BYTES)?;
    let region_start = memory.addresses().start;
    let teller = Teller { kind, region_start, out };
    let told = kind
        .build(Cut::STANDARD, memory.bytes(), teller)
        .map_err(|error| InputError(error.to_string()))?;
    told.map_err(|error| InputError(error.to_string()))
}

/// A block of the story.
#[derive(Clone, Copy)]
struct Actor {
    name: char,
    ptr: NonNull<u8>,
    layout: Layout,
}

impl Actor {
    fn style(self) -> Style {
        let color = match self.name {
            'A' => AnsiColor::Cyan,
            'B' => AnsiColor::Yellow,
            'C' => AnsiColor::Magenta,
            _ => AnsiColor::Green,
        };
        color.on_default()
    }
}

/// An allocator, the blocks that live in it, and the picture of both.
struct Stage<'o, A> {
    allocator: A,
    /// Where the pool's first block starts in the region, in bytes.
    pool_offset: usize,
    pool_address: usize,
    /// All blocks so far, also those freed.
    actors: Vec<Actor>,
    out: &'o mut String,
}

impl<'o, A: Allocator> Stage<'o, A> {
    fn new(allocator: A, region_start: usize, out: &'o mut String) -> Self {
        let pool_address = allocator.pool_start().addr();
        Self {
            allocator,
            pool_offset: pool_address - region_start,
            pool_address,
            actors: Vec::new(),
            out,
        }
    }

    fn play(mut self, kind: Kind) -> Result<Lesson, AllocError> {
        let metadata_empty_bytes = self.metadata_bytes();
        let largest_request_bytes = self.allocator.largest_free();
        self.title(kind);
        let mut double_free = String::new();
        let mut metadata_three_live_bytes = 0;
        for (index, step) in STORY.iter().enumerate() {
            let _ = write!(self.out, "{STRONG}{:>3}{STRONG:#}  ", index + 1);
            match *step {
                Step::Allocate(name, size) => self.allocate(name, size)?,
                Step::Free(name) => {
                    if let Some(refusal) = self.free(name, 0) {
                        double_free = refusal;
                    }
                }
                Step::FreeInside(name) => {
                    self.free(name, CELL_BYTES);
                }
            }
            if index + 1 == THREE_LIVE {
                metadata_three_live_bytes = self.metadata_bytes();
            }
        }
        Ok(Lesson {
            metadata_empty_bytes,
            metadata_three_live_bytes,
            largest_request_bytes,
            one_byte_takes_bytes: self.one_byte_takes()?,
            double_free,
        })
    }

    fn title(&mut self, kind: Kind) {
        let (title, picture) = match kind {
            Kind::FirstFit => (
                "The free list",
                "A header {size, next} stands in front of every block, used or free.",
            ),
            _ => (
                "The heap",
                "No headers: a map, one bit for each 8 bytes, stands before all blocks.",
            ),
        };
        let _ = writeln!(self.out, "\n{STRONG}{title}{STRONG:#}  {FAINT}{picture}{FAINT:#}\n");
        let _ = writeln!(self.out, "     {}", self.picture());
        let ruler = (0..4).map(|quarter| format!("{:<16}", quarter * REGION_BYTES / 4));
        let _ = writeln!(self.out, "     {FAINT}{}1024{FAINT:#}\n", ruler.collect::<String>());
    }

    fn allocate(&mut self, name: char, size: usize) -> Result<(), AllocError> {
        let layout = Layout::array::<u8>(size).map_err(|_| AllocError::TooLarge)?;
        let before: Vec<Piece> = self.allocator.blocks().collect();
        let ptr = self.allocator.allocate(layout)?.cast();
        let actor = Actor { name, ptr, layout };
        self.actors.push(actor);
        let style = actor.style();
        let _ = writeln!(self.out, "allocate {style}{name}{style:#}, {size} bytes");
        let block = self.extent(ptr);
        self.show(block.clone());
        let from = before.iter().map(extent).find(|from| from.contains(&block.start));
        let left = from.map_or(0, |from| from.len() - block.len());
        let header = match A::HEADER_BYTES {
            0 => String::new(),
            bytes => format!(", {bytes} of them header"),
        };
        let split = match left {
            0 => "the free block is used whole".to_owned(),
            left => format!("split: {} stay free behind it", counted(left as u64, "byte")),
        };
        self.say(&format!("takes {} bytes{header}; {split}", block.len()));
        Ok(())
    }

    /// Frees the block by a pointer `inside` bytes behind its start. Returns the error if that is
    /// refused.
    fn free(&mut self, name: char, inside: usize) -> Option<String> {
        let actor = *self.actors.iter().find(|actor| actor.name == name)?;
        let style = actor.style();
        let _ = write!(self.out, "free {style}{name}{style:#}");
        if inside > 0 {
            let _ = write!(self.out, " + {inside}, an address inside it");
        }
        // SAFETY: stays in the block.
        let ptr = unsafe { actor.ptr.add(inside) };
        let block = self.extent(ptr);
        // SAFETY: nothing uses the block any more.
        match unsafe { self.allocator.try_deallocate(ptr, actor.layout) } {
            Ok(()) => {
                let _ = writeln!(self.out);
                self.freed(block);
                None
            }
            Err(error) => {
                let _ = writeln!(self.out, "{}", if inside > 0 { "" } else { " again" });
                self.refused(error);
                Some(name_of(error))
            }
        }
    }

    fn freed(&mut self, block: Range<usize>) {
        let blocks: Vec<Piece> = self.allocator.blocks().collect();
        let free = blocks.iter().map(extent).find(|free| free.contains(&block.start));
        let free = free.unwrap_or_else(|| block.clone());
        self.show(free.clone());
        let bytes = counted(free.len() as u64, "byte");
        self.say(&match (free.start < block.start, free.end > block.end) {
            (false, false) => format!("no free neighbour: a free block of {bytes}"),
            (true, false) => format!("coalesced with the free block before it: {bytes}"),
            (false, true) => format!("coalesced with the free block after it: {bytes}"),
            (true, true) => format!("coalesced with the free blocks on both sides: {bytes}"),
        });
    }

    fn refused(&mut self, error: FreeError) {
        let _ = writeln!(self.out, "     {}", self.picture());
        let name = name_of(error);
        let _ = writeln!(self.out, "     {BAD}refused: {name}{BAD:#}, {error}; nothing changed\n");
    }

    /// The pool, and a bracket under the bytes that this step was about.
    fn show(&mut self, bytes: Range<usize>) {
        let cells = self.cells(&bytes);
        let _ = writeln!(self.out, "     {}", self.picture());
        let bracket = match cells.len() {
            0 | 1 => "╵".to_owned(),
            len => format!("└{}┘", "─".repeat(len - 2)),
        };
        let _ = writeln!(
            self.out,
            "     {:indent$}{FAINT}{bracket}{FAINT:#}",
            "",
            indent = cells.start
        );
    }

    fn say(&mut self, what: &str) {
        let _ = writeln!(self.out, "     {what}\n");
    }

    /// The pool from end to end, a column for each [`CELL_BYTES`].
    fn picture(&self) -> String {
        let mut picture = cells(FAINT, '▒', self.pool_offset / CELL_BYTES);
        let mut drawn = self.pool_offset / CELL_BYTES;
        for block in self.allocator.blocks() {
            let count = self.cells(&extent(&block)).len();
            drawn += count;
            let header = (A::HEADER_BYTES / CELL_BYTES).min(count);
            let payload = count - header;
            let owner = self.owner(&block);
            let style = owner.map_or(FAINT, Actor::style);
            picture += &cells(style, '▒', header);
            match owner {
                Some(actor) => picture += &named(actor, payload, header == 0),
                None => picture += &cells(FAINT, '·', payload),
            }
        }
        picture + &cells(FAINT, '▒', CELLS.saturating_sub(drawn))
    }

    /// The name of a used block's owner.
    fn owner(&self, block: &Piece) -> Option<Actor> {
        let ptr = self.pool_address + block.offset_bytes + A::HEADER_BYTES;
        let mut newest_first = self.actors.iter().rev();
        let owner = newest_first.find(|actor| actor.ptr.addr().get() == ptr);
        owner.copied().filter(|_| block.state == BlockState::Used)
    }

    /// The block, used or free, that contains the address, in bytes from the pool's start.
    fn extent(&self, ptr: NonNull<u8>) -> Range<usize> {
        let offset = ptr.addr().get() - self.pool_address;
        let blocks: Vec<Piece> = self.allocator.blocks().collect();
        let holds = blocks.iter().map(extent).find(|block| block.contains(&offset));
        holds.unwrap_or(offset..offset)
    }

    fn cells(&self, bytes: &Range<usize>) -> Range<usize> {
        let cell = |byte: usize| (self.pool_offset + byte) / CELL_BYTES;
        cell(bytes.start)..cell(bytes.end)
    }

    /// Bytes of the region that can't be used for data now.
    fn metadata_bytes(&self) -> usize {
        let Stats { metadata_bytes, .. } = self.allocator.stats();
        metadata_bytes + A::HEADER_BYTES * self.allocator.blocks().count()
    }

    /// The bytes of the pool that the smallest request uses.
    fn one_byte_takes(&mut self) -> Result<usize, AllocError> {
        let layout = Layout::new::<u8>();
        let before = self.allocator.stats().free_bytes;
        let ptr = self.allocator.allocate(layout)?.cast();
        let takes = before - self.allocator.stats().free_bytes;
        // SAFETY: nothing uses the block any more. It is live, so it is not refused.
        let _ = unsafe { self.allocator.try_deallocate(ptr, layout) };
        Ok(takes)
    }
}

fn extent(block: &Piece) -> Range<usize> {
    block.offset_bytes..block.offset_bytes + block.size_bytes
}

fn cells(style: Style, cell: char, count: usize) -> String {
    format!("{style}{}{style:#}", cell.to_string().repeat(count))
}

/// `count` columns in use, the owner's name in the middle; with an edge where no header sets the
/// block apart from the one before.
fn named(actor: Actor, count: usize, edge: bool) -> String {
    let before = count.saturating_sub(1) / 2;
    let after = "█".repeat(count.saturating_sub(before + 1));
    let before = match before {
        0 => String::new(),
        before if edge => format!("▐{}", "█".repeat(before - 1)),
        before => "█".repeat(before),
    };
    let (style, name) = (actor.style(), actor.name);
    let cut_out = style.invert().bold();
    format!("{style}{before}{style:#}{cut_out}{name}{cut_out:#}{style}{after}{style:#}")
}

/// The error's name in the library.
fn name_of(error: FreeError) -> String {
    format!("{error:?}")
}

fn comparison(first_fit: &Lesson, heap: &Lesson) -> String {
    let mut table = Table::default();
    table.styled(STRONG, "", "free list", "heap");
    let mut row = |label: &str, of: &dyn Fn(&Lesson) -> String| {
        table.row(label, of(first_fit), of(heap));
    };
    let bytes = |bytes: usize| counted(bytes as u64, "byte");
    row("metadata in the empty pool", &|it| bytes(it.metadata_empty_bytes));
    row("metadata with 3 live blocks", &|it| bytes(it.metadata_three_live_bytes));
    row("a request of 1 byte takes", &|it| bytes(it.one_byte_takes_bytes));
    row("largest request in the empty pool", &|it| bytes(it.largest_request_bytes));
    row("a double free", &|it| format!("refused: {}", it.double_free));
    table.row("found by", "walking the blocks", "one look at the map");
    table.row("time of an operation", "grows with the blocks", "constant");
    let outside = bytes(size_of::<Heap>());
    format!(
        "{table}\n  The heap's bins and counters live outside the pool: {outside}, whatever its size.\n"
    )
}
