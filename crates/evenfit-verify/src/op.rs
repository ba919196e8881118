//! The operations a heap is driven through, decoded from arbitrary bytes.

use core::alloc::Layout;

/// A wrong argument of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misuse {
    /// A pointer that was freed before, with the layout it had.
    Stale {
        /// Which of the remembered ones.
        pick: usize,
    },
    /// A pointer into a live block.
    Interior {
        /// Which live block.
        k: usize,
        /// How far in; taken modulo the block's length.
        delta: usize,
    },
    /// A pointer anywhere into the pool's free memory.
    InFree {
        /// Where; taken modulo the pool's length, then forward to free memory.
        offset: usize,
    },
    /// A pointer anywhere into the region: the metadata included.
    InRegion {
        /// Where; taken modulo the region's length.
        offset: usize,
    },
    /// An address that need not belong to anything.
    Foreign {
        /// The address; null is made 1.
        address: usize,
    },
    /// A live block of another heap.
    OtherHeap,
    /// One past the region's end, or further.
    PastEnd {
        /// How much further.
        delta: usize,
    },
    /// A live block with a size it was not allocated with.
    WrongSize {
        /// Which live block.
        k: usize,
        /// The claimed size.
        size: usize,
    },
    /// A live block with an alignment that its address does not have.
    WrongAlign {
        /// Which live block.
        k: usize,
        /// How many times the alignment its address has is doubled.
        doublings: u32,
    },
}

/// The call that a misuse goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// `try_deallocate`
    Deallocate,
    /// `try_free`
    Free,
    /// `realloc`
    Realloc,
    /// `resize_in_place`
    InPlace,
    /// `reallocate`
    Reallocate,
    /// `usable_size`
    UsableSize,
}

/// One operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// `allocate`
    Allocate(Layout),
    /// `allocate_zeroed`
    AllocateZeroed(Layout),
    /// `malloc` of this many bytes.
    Malloc(usize),
    /// `try_deallocate` of the `k`-th live block.
    Free {
        /// Which live block.
        k: usize,
    },
    /// `try_free` of the `k`-th live block.
    FreeAsInC {
        /// Which live block.
        k: usize,
    },
    /// `realloc` of the `k`-th live block.
    Realloc {
        /// Which live block.
        k: usize,
        /// The new size.
        new_bytes: usize,
    },
    /// `reallocate` of the `k`-th live block; the new size is taken modulo one more than the old.
    Shrink {
        /// Which live block.
        k: usize,
        /// The new layout.
        new: Layout,
    },
    /// `resize_in_place` of the `k`-th live block.
    ResizeInPlace {
        /// Which live block.
        k: usize,
        /// The new layout.
        new: Layout,
    },
    /// `reallocate` of the `k`-th live block.
    Reallocate {
        /// Which live block.
        k: usize,
        /// The new layout.
        new: Layout,
    },
    /// Free all live blocks, in an order that `k` determines.
    FreeAll {
        /// Which live block goes first.
        k: usize,
    },
    /// A call that must be refused.
    Misuse {
        /// What is wrong.
        kind: Misuse,
        /// Where it is tried.
        via: Via,
    },
    /// A full comparison of heap and model.
    Check,
}

/// Arbitrary bytes, read from the front; endless zeros once they are used up.
#[derive(Clone, Debug)]
pub struct Bytes<'a> {
    rest: &'a [u8],
}

impl<'a> Bytes<'a> {
    /// Reads from `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        match self.rest.split_first() {
            Some((first, rest)) => {
                self.rest = rest;
                *first
            }
            None => 0,
        }
    }

    /// The next `bytes` bytes, at most 8, as a little-endian number; of the machine's width, what
    /// is above is lost.
    pub fn number(&mut self, bytes: u32) -> usize {
        (0..bytes).fold(0, |sum, at| sum | (u64::from(self.byte()) << (8 * at))) as usize
    }

    /// What is left.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

/// A size for a pool of `pool_bytes`: mostly small, sometimes anything.
fn size(bytes: &mut Bytes, pool_bytes: usize) -> usize {
    match bytes.byte() {
        0..=119 => bytes.number(1),
        120..=179 => bytes.number(2) % (pool_bytes / 4 + 2),
        180..=199 => bytes.number(2),
        200..=219 => bytes.number(4) % (pool_bytes + pool_bytes / 8 + 2),
        220..=231 => pool_bytes.saturating_sub(bytes.number(1)),
        232..=243 => {
            let power = 1_usize << (bytes.byte() % 27);
            power.wrapping_add(bytes.number(1)).saturating_sub(128)
        }
        244..=247 => 0,
        248..=251 => isize::MAX as usize - bytes.number(1),
        252..=255 => bytes.number(8) % (isize::MAX as usize),
    }
}

/// An alignment: mostly what programs ask for, sometimes up to the pool's size and beyond.
fn align(bytes: &mut Bytes, pool_bytes: usize) -> usize {
    match bytes.byte() {
        0..=127 => 8,
        choice @ 128..=191 => 1 << (choice % 5),
        choice @ 192..=239 => 1 << (choice % 13),
        choice => 1 << (u32::from(choice) % (pool_bytes.ilog2() + 3)),
    }
}

/// The layout that `malloc` and `realloc` of `bytes` ask for; none if the language allows no such
/// layout.
pub fn malloc_layout(size_bytes: usize) -> Option<Layout> {
    let align = if size_bytes <= 8 { 8 } else { 2 * size_of::<usize>() };
    Layout::from_size_align(size_bytes, align).ok()
}

/// The layout nearest to the request that the language allows.
pub fn layout(size: usize, align: usize) -> Layout {
    let largest = isize::MAX as usize - (align - 1);
    Layout::from_size_align(size.min(largest), align).expect("the size is capped for the alignment")
}

impl Misuse {
    fn decode(bytes: &mut Bytes, pool_bytes: usize) -> Self {
        match bytes.byte() % 12 {
            0..=2 => Self::Stale { pick: bytes.number(1) },
            3 => Self::Interior { k: bytes.number(1), delta: bytes.number(2) },
            4 => Self::Interior { k: bytes.number(1), delta: 8 * bytes.number(1) },
            5 => Self::InFree { offset: bytes.number(3) },
            6 => Self::InRegion { offset: bytes.number(3) },
            7 => Self::Foreign { address: bytes.number(8) },
            8 => Self::OtherHeap,
            9 => Self::PastEnd { delta: bytes.number(1) },
            10 => Self::WrongSize { k: bytes.number(1), size: size(bytes, pool_bytes) },
            _ => Self::WrongAlign { k: bytes.number(1), doublings: u32::from(bytes.byte() % 16) },
        }
    }
}

impl Op {
    /// Decodes one operation for a pool of `pool_bytes`. Every byte string is some operation.
    pub fn decode(bytes: &mut Bytes, pool_bytes: usize) -> Self {
        let choice = bytes.byte();
        let k = |bytes: &mut Bytes| bytes.number(2);
        let new = |bytes: &mut Bytes| {
            let size = size(bytes, pool_bytes);
            layout(size, align(bytes, pool_bytes))
        };
        match choice {
            0..=74 => Self::Allocate(new(bytes)),
            75..=84 => Self::Malloc(new(bytes).size()),
            85..=94 => Self::AllocateZeroed(new(bytes)),
            95..=139 => Self::Free { k: k(bytes) },
            140..=159 => Self::FreeAsInC { k: k(bytes) },
            160..=174 => Self::Realloc { k: k(bytes), new_bytes: new(bytes).size() },
            175..=189 => Self::Shrink { k: k(bytes), new: new(bytes) },
            190..=203 => Self::Reallocate { k: k(bytes), new: new(bytes) },
            204..=209 => Self::ResizeInPlace { k: k(bytes), new: new(bytes) },
            210..=247 => {
                let via = match bytes.byte() % 8 {
                    0..=2 => Via::Deallocate,
                    3 => Via::Free,
                    4 => Via::Realloc,
                    5 => Via::InPlace,
                    6 => Via::Reallocate,
                    _ => Via::UsableSize,
                };
                Self::Misuse { kind: Misuse::decode(bytes, pool_bytes), via }
            }
            248..=253 => Self::Check,
            254..=255 => Self::FreeAll { k: k(bytes) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_choice_of_bytes_decodes_and_every_kind_of_operation_occurs() {
        let mut seen = [false; 12];
        for first in 0..=255 {
            for second in 0..=255_u8 {
                let bytes = [first, second, 255, second, 7, first];
                let op = Op::decode(&mut Bytes::new(&bytes), 4096);
                let kind = match op {
                    Op::Allocate(_) => 0,
                    Op::AllocateZeroed(_) => 1,
                    Op::Free { .. } => 2,
                    Op::FreeAsInC { .. } => 3,
                    Op::Realloc { .. } => 4,
                    Op::Shrink { .. } => 5,
                    Op::Reallocate { .. } => 6,
                    Op::FreeAll { .. } => 7,
                    Op::Misuse { .. } => 8,
                    Op::Check => 9,
                    Op::Malloc(_) => 10,
                    Op::ResizeInPlace { .. } => 11,
                };
                seen[kind] = true;
            }
        }
        assert_eq!(seen, [true; 12]);
    }
}
