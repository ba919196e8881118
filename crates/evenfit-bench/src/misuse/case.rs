//! The cases, and the code that runs one.

use std::alloc::Layout;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::peers::{About, Class, Peer, Visitor};
use crate::region::Region;
use evenfit::FreeError;

use super::outcome::Outcome;
use super::probe::Watch;

const REGION_BYTES: usize = 256 << 10;

/// A misuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// A wrong call, by its number in [`MISUSES`].
    Misuse(usize),
    /// This byte of a freed block of 64 bytes is inverted.
    FlipByte(usize),
    /// A freed block of 64 bytes is filled with this byte.
    Fill(u8),
    /// The first words of a freed block become the address of a live one.
    FillPointer,
    /// The bytes behind a live block, up to 16, are overwritten.
    Overflow(usize),
}

/// The wrong calls, in the order of the table.
pub const MISUSES: [&str; 16] = [
    "double free",
    "double free after another free",
    "double free after both neighbours merged",
    "free of a block's old pointer inside a larger new block",
    "interior pointer, 8 bytes in",
    "interior pointer, 16 bytes in",
    "interior pointer, in the middle of a large block",
    "pointer to the stack",
    "pointer to the pool's own metadata",
    "pointer just behind the pool",
    "live block of another heap",
    "size too small (64 for 256)",
    "size too large (256 for 64)",
    "small block freed as a large one (64 as 3,000)",
    "large block freed as a small one (3,000 as 64)",
    "alignment the block does not have (4,096)",
];

/// From this case on the pointer is correct, and the layout is wrong.
const FIRST_WRONG_LAYOUT: usize = 11;

impl Case {
    /// Whether the case applies to an allocator: glibc has no pool, and a free of glibc and o1heap
    /// gets no alignment.
    pub fn applies_to(self, peer: &str) -> bool {
        match self {
            Self::Misuse(8..=10) => peer != "glibc",
            Self::Misuse(15) => !matches!(peer, "glibc" | "o1heap"),
            _ => true,
        }
    }

    /// Every case that a table is made from.
    pub fn all() -> Vec<Self> {
        let mut cases: Vec<_> = (0..MISUSES.len()).map(Self::Misuse).collect();
        cases.extend((0..64).map(Self::FlipByte));
        cases.extend([0x00, 0xFF, 0x41].map(Self::Fill));
        cases.push(Self::FillPointer);
        cases.extend([1, 8, 16].map(Self::Overflow));
        cases
    }

    /// The argument by which the parent names the case to the child.
    pub fn argument(self) -> String {
        match self {
            Self::Misuse(number) => format!("misuse={number}"),
            Self::FlipByte(at) => format!("flip={at}"),
            Self::Fill(byte) => format!("fill={byte}"),
            Self::FillPointer => "pointer=0".to_owned(),
            Self::Overflow(bytes) => format!("overflow={bytes}"),
        }
    }

    /// The case of that name.
    pub fn parse(argument: &str) -> Option<Self> {
        let (kind, number) = argument.split_once('=')?;
        let number: usize = number.parse().ok()?;
        Some(match kind {
            "misuse" if number < MISUSES.len() => Self::Misuse(number),
            "flip" if number < 64 => Self::FlipByte(number),
            "fill" => Self::Fill(u8::try_from(number).ok()?),
            "pointer" => Self::FillPointer,
            "overflow" => Self::Overflow(number),
            _ => return None,
        })
    }
}

/// The error that evenfit's hook was called with last: 0 for none, else one more than its number.
static TOLD: AtomicU8 = AtomicU8::new(0);

/// Names of the errors, by the number that [`TOLD`] keeps.
const ERRORS: [&str; 6] = ["", "OutsidePool", "NotABlock", "AlreadyFree", "WrongLayout", "Corrupt"];

fn listen() {
    TOLD.store(0, Ordering::Relaxed);
    evenfit::set_misuse_hook(|misuse| {
        let number = match misuse.error {
            FreeError::OutsidePool => 1,
            FreeError::NotABlock => 2,
            FreeError::AlreadyFree => 3,
            FreeError::WrongLayout => 4,
            _ => 5,
        };
        let _ = TOLD.compare_exchange(0, number, Ordering::Relaxed, Ordering::Relaxed);
    });
}

/// Runs a case against the allocator that it is visited with.
#[derive(Debug)]
pub struct Run(pub Case);

impl Visitor for Run {
    type Out = (Outcome, &'static str);

    fn visit<P: Peer>(&mut self, about: About) -> Self::Out {
        listen();
        let region = Region::new(REGION_BYTES).expect("memory for a small pool");
        // SAFETY: the region is this heap's alone and outlives it.
        let mut peer = unsafe { P::over(region.base(), REGION_BYTES) }.expect("room for a heap");
        let pool = (about.class == Class::Pool).then_some((region.base() as usize, REGION_BYTES));
        let mut stage = Stage { peer: &mut *peer, watch: Watch::new(pool), pool };
        let outcome = match self.0 {
            Case::Misuse(number) => stage.misuse(number),
            Case::FlipByte(at) => stage.late_write(|freed, _| {
                // SAFETY: freed memory, which is overwritten on purpose.
                unsafe { freed.add(at).write(!freed.add(at).read()) }
            }),
            Case::Fill(byte) => stage.late_write(|freed, _| {
                // SAFETY: as above.
                unsafe { freed.write_bytes(byte, 64) }
            }),
            Case::FillPointer => stage.late_write(|freed, live| {
                for word in 0..8 {
                    // SAFETY: as above; blocks are aligned to 8.
                    unsafe { freed.cast::<*mut u8>().add(word).write(live) }
                }
            }),
            Case::Overflow(bytes) => stage.overflow(bytes),
        };
        (outcome, ERRORS[TOLD.load(Ordering::Relaxed) as usize])
    }
}

/// A heap with blocks in it.
struct Stage<'run, P: Peer> {
    peer: &'run mut P,
    watch: Watch,
    pool: Option<(usize, usize)>,
}

const SMALL: usize = 64;

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 8).expect("a small layout")
}

impl<P: Peer> Stage<'_, P> {
    fn allocate(&mut self, size: usize) -> usize {
        self.watch.allocate(self.peer, layout(size)).expect("room for a few blocks")
    }

    /// Twenty blocks of `size`, and a hole or two so that there are lists that can break.
    fn set(&mut self, size: usize) {
        for _ in 0..20 {
            self.allocate(size);
        }
        let (first, second) = (self.watch.live[5].ptr, self.watch.live[8].ptr);
        for hole in [first, second] {
            self.free(hole);
        }
    }

    fn free(&mut self, ptr: *mut u8) {
        let index = self.watch.live.iter().position(|live| live.ptr == ptr);
        self.watch.free(self.peer, index.expect("a live block"));
    }

    /// The `n`th live block by address.
    fn nth(&self, n: usize) -> *mut u8 {
        let mut ptrs: Vec<_> = self.watch.live.iter().map(|live| live.ptr).collect();
        ptrs.sort_unstable();
        ptrs[n]
    }

    fn bytes(&self) -> Vec<u8> {
        let Some((base, len)) = self.pool else {
            return Vec::new();
        };
        // SAFETY: the region, which is mapped and initialised; no call is running.
        unsafe { std::slice::from_raw_parts(base as *const u8, len) }.to_vec()
    }

    fn misuse(&mut self, number: usize) -> Outcome {
        let on_stack = [0_u64; 64];
        let other_region = Region::new(REGION_BYTES).expect("memory for a small pool");
        // SAFETY: the region is this heap's alone and outlives it.
        let other = unsafe { P::over(other_region.base(), REGION_BYTES) };
        let mut other = other.expect("room for a heap");
        let (ptr, told) = match number {
            0..=2 => {
                self.set(SMALL);
                let victim = self.nth(10);
                let neighbours = [self.nth(9), self.nth(11)];
                self.free(victim);
                if number == 1 {
                    let another = self.nth(15);
                    self.free(another);
                }
                if number == 2 {
                    neighbours.into_iter().for_each(|ptr| self.free(ptr));
                }
                (victim, layout(SMALL))
            }
            3 => {
                // Two neighbours of 600 bytes are freed, and the whole becomes one block.
                for _ in 0..12 {
                    self.allocate(600);
                }
                let (first, second) = (self.nth(5), self.nth(6));
                self.free(first);
                self.free(second);
                self.allocate(1100);
                (second, layout(600))
            }
            4 | 5 => {
                self.set(SMALL);
                (self.nth(10).wrapping_add(if number == 4 { 8 } else { 16 }), layout(SMALL))
            }
            6 => {
                self.set(SMALL);
                let index = self.allocate(3000);
                (self.watch.live[index].ptr.wrapping_add(1024), layout(3000))
            }
            7 => {
                self.set(SMALL);
                ((&raw const on_stack).cast_mut().cast::<u8>().wrapping_add(64), layout(SMALL))
            }
            8 | 9 => {
                self.set(SMALL);
                let base = self.pool.map_or(0x1000, |(base, _)| base);
                ((base + if number == 8 { 32 } else { REGION_BYTES }) as *mut u8, layout(SMALL))
            }
            10 => {
                self.set(SMALL);
                // SAFETY: the layout is not of size zero.
                (unsafe { other.alloc(layout(SMALL)) }, layout(SMALL))
            }
            11..=15 => {
                let (size, told) = match number {
                    11 => (256, layout(64)),
                    12 => (64, layout(256)),
                    13 => (64, layout(3000)),
                    14 => (3000, layout(64)),
                    _ => (64, Layout::from_size_align(64, 4096).expect("a page")),
                };
                self.set(size);
                let unaligned = (9..16).map(|n| self.nth(n));
                let ptr = unaligned.into_iter().find(|ptr| !(*ptr as usize).is_multiple_of(4096));
                (ptr.expect("of neighbours one is not at a page"), told)
            }
            _ => unreachable!("as many arms as names"),
        };
        let before = self.bytes();
        // SAFETY: none: this is the misuse, in its own process.
        unsafe { self.peer.dealloc(ptr, told) };
        let unchanged = self.bytes() == before && self.pool.is_some();
        if number >= FIRST_WRONG_LAYOUT && !unchanged {
            // An allocator that accepts this call has freed the block.
            self.watch.live.retain(|live| live.ptr != ptr);
        }
        self.watch.look();
        self.watch.probe(self.peer);
        match self.watch.worst() {
            Some(worst) => worst,
            None if unchanged => Outcome::Refused,
            None => Outcome::Accepted,
        }
    }

    /// Frees a block, overwrites it, and continues.
    fn late_write(&mut self, write: impl FnOnce(*mut u8, *mut u8)) -> Outcome {
        self.set(SMALL);
        let (victim, live) = (self.nth(10), self.nth(12));
        self.free(victim);
        write(victim, live);
        self.go_on()
    }

    /// Writes `bytes` bytes beyond a block, as for a string without room for its terminator.
    fn overflow(&mut self, bytes: usize) -> Outcome {
        self.set(SMALL);
        let (writer, reader) = (self.nth(10), self.nth(11));
        // SAFETY: none: beyond the block, within the pool.
        unsafe { writer.add(SMALL).write_bytes(0x41, bytes) };
        // The next block's content is lost, but not by the allocator's fault: it is freed
        // unchecked.
        self.watch.live.retain(|live| live.ptr != reader);
        // SAFETY: a live block with its layout.
        unsafe { self.peer.dealloc(reader, layout(SMALL)) };
        self.go_on()
    }

    fn go_on(&mut self) -> Outcome {
        self.watch.probe(self.peer);
        self.watch.worst().unwrap_or(Outcome::Accepted)
    }
}
