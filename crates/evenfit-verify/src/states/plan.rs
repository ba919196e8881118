//! A state while it is built. First blocks are laid out one behind the other; then some of them are
//! split or freed.

use alloc::vec::Vec;
use core::fmt;

use evenfit::{Geometry, Tiers};

use crate::states::picks::Picks;
use crate::states::world::{Block, Memory, World};

/// What happens to the top.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Top {
    /// Nothing: it is long.
    Free,
    /// A block fills it before others are freed.
    Full,
    /// A block fills it after others were freed, so the used granules are at their peak.
    FullLast,
    /// A block fills half of it after others were freed.
    HalfLast,
}

impl fmt::Display for Top {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Free => "free",
            Self::Full => "full",
            Self::FullLast => "full, and more was never used",
            Self::HalfLast => "half full, and more was never used",
        })
    }
}

/// Where in its list a free block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Position {
    Only,
    First,
    Middle,
    Last,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Only => "alone in its list",
            Self::First => "first of its list",
            Self::Middle => "in the middle of its list",
            Self::Last => "last of its list",
        })
    }
}

/// All of them.
pub(crate) const TOPS: [Top; 4] = [Top::Free, Top::Full, Top::FullLast, Top::HalfLast];
pub(crate) const POSITIONS: [Position; 4] =
    [Position::Only, Position::First, Position::Middle, Position::Last];

/// What is carved from a run that is freed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Carve {
    /// A block of this many granules.
    Block(usize),
    /// A slab, for a slot of this many bytes.
    Slab(usize),
}

/// A block that is laid out, or will be carved from a run.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Laid {
    Now(Block),
    /// By the number of its [`Carve`].
    Later(usize),
}

/// A state while it is built.
pub(crate) struct Plan<'m, T: Tiers, G: Geometry> {
    pub(crate) world: World<'m, T, G>,
    /// In this order, before others are freed.
    carves: Vec<(Block, Carve)>,
    carved: Vec<Block>,
    /// Blocks that are then made shorter, each by this many granules.
    shrinks: Vec<(Block, usize)>,
    frees: Vec<Block>,
    has_rest: bool,
}

impl<'m, T: Tiers, G: Geometry> Plan<'m, T, G> {
    /// Begins with a block, so that what follows lies `phase` granules behind a byte of the map.
    pub(crate) fn new(memory: &'m mut Memory, phase: usize) -> Self {
        let mut world = World::new(memory);
        world.block(8 + phase);
        Self {
            world,
            carves: Vec::new(),
            carved: Vec::new(),
            shrinks: Vec::new(),
            frees: Vec::new(),
            has_rest: false,
        }
    }

    /// As `new`, with a phase that is picked.
    pub(crate) fn picked(memory: &'m mut Memory, picks: &mut Picks) -> Self {
        let phase = picks.of("bit", &[0, 1, 2, 3, 4, 5, 6, 7]);
        Self::new(memory, phase)
    }

    /// The other blocks of the list in which a block will be at `position` once it is freed.
    pub(crate) fn lay_listed(&mut self, len: usize, position: Position) -> Companions {
        let count = match position {
            Position::Only => 0,
            Position::First | Position::Last => 1,
            Position::Middle => 2,
        };
        let blocks = (0..count).map(|_| self.lay_apart(len)).collect();
        Companions { blocks, position }
    }

    /// A block with used ones around it.
    pub(crate) fn lay_apart(&mut self, len: usize) -> Block {
        let block = self.world.block(len);
        self.world.apart();
        block
    }

    /// A free block with used ones around it.
    pub(crate) fn lay_hole(&mut self, len: usize, position: Position) {
        let companions = self.lay_listed(len, position);
        let block = self.lay_apart(len);
        self.free_at(block, companions);
    }

    /// Frees the block and its companions in the order that puts it at its position: the latest
    /// freed is the first.
    pub(crate) fn free_at(&mut self, block: Block, companions: Companions) {
        let Companions { mut blocks, position } = companions;
        let before = match position {
            Position::Only | Position::Last => 0,
            Position::First | Position::Middle => 1,
        };
        blocks.insert(before, block);
        self.frees.append(&mut blocks);
    }

    /// A rest of `len` granules with used blocks around it. `None`: there is a rest already.
    pub(crate) fn lay_rest(&mut self, len: usize) -> Option<()> {
        let block_len = World::<T, G>::BLOCK_LEN;
        let run = self.lay_apart(block_len + World::<T, G>::even(len));
        self.carve(run, Carve::Block(block_len), true)?;
        Some(())
    }

    /// Plans to free a run and to carve its first part from it again, which makes its remainder the
    /// rest. `None`: there is a rest already.
    pub(crate) fn carve(&mut self, run: Block, carve: Carve, leaves_rest: bool) -> Option<Laid> {
        if leaves_rest && self.has_rest {
            return None;
        }
        // While there is a rest, others would be carved from it.
        if !leaves_rest && self.has_rest {
            return None;
        }
        self.has_rest |= leaves_rest;
        self.carves.push((run, carve));
        Some(Laid::Later(self.carves.len() - 1))
    }

    /// Plans to shrink the block by one granule, which the heap leaves with it.
    pub(crate) fn shrink_by_one(&mut self, block: Block, len: usize) -> Laid {
        self.shrinks.push((block, len));
        Laid::Later(usize::MAX)
    }

    /// Carves and shrinks as planned, before blocks are freed. `None`: the heap carved a block from
    /// elsewhere, since the plan left a better free block for it.
    pub(crate) fn settle(&mut self, top: Top) -> Option<()> {
        for (run, carve) in core::mem::take(&mut self.carves) {
            self.world.free(run);
            let carved = match carve {
                Carve::Block(len) => self.world.block(len),
                Carve::Slab(bytes) => self.world.slot(bytes),
            };
            if carved.ptr != run.ptr {
                return None;
            }
            self.carved.push(carved);
        }
        for (block, len) in core::mem::take(&mut self.shrinks) {
            let shrunk = self.world.resize(block, len);
            self.carved.push(shrunk);
        }
        if top == Top::Full {
            self.fill(1);
        }
        Some(())
    }

    /// Settles, and then frees at once.
    pub(crate) fn finish(&mut self, top: Top) -> Option<()> {
        self.settle(top)?;
        self.free_all(top);
        Some(())
    }

    /// Frees the blocks that are to be free.
    pub(crate) fn free_all(&mut self, top: Top) {
        for block in core::mem::take(&mut self.frees) {
            self.world.free(block);
        }
        match top {
            Top::Free | Top::Full => {}
            Top::FullLast => self.fill(1),
            Top::HalfLast => self.fill(2),
        }
    }

    /// Fills one of `parts` equal parts of the top.
    fn fill(&mut self, parts: usize) {
        let (_, len) = self.world.top();
        let len = len / parts;
        if len > World::<T, G>::BLOCK_LEN {
            self.world.allocate_top(World::<T, G>::even(len - 1));
        }
        self.fill_what_is_left(parts);
    }

    /// Rounding may have left some granules of the top.
    fn fill_what_is_left(&mut self, parts: usize) {
        let (_, len) = self.world.top();
        if parts == 1 && len >= 2 {
            let block = self.world.heap().allocate(World::<T, G>::layout(len, G::ALIGN_BYTES));
            assert!(block.is_ok() || T::SLABS_REGION_BYTES_MIN == 0);
        }
    }

    /// The block that was laid out.
    pub(crate) fn block(&self, laid: Laid) -> Block {
        match laid {
            Laid::Now(block) => block,
            Laid::Later(usize::MAX) => *self.carved.last().expect("shrunk"),
            Laid::Later(number) => self.carved[number],
        }
    }
}

/// Blocks in the list of another.
pub(crate) struct Companions {
    blocks: Vec<Block>,
    position: Position,
}
