//! A load: the allocations of a program as an array of operations, ready to be replayed.

/// The kinds of operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Allocates a block.
    Alloc,
    /// Frees a block.
    Free,
    /// Changes the size of a block.
    Realloc,
}

/// One operation, 16 bytes. It has everything that the call needs, so that a replay looks nothing
/// up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Op {
    /// Which entry of the table of live pointers.
    pub slot: u32,
    /// Bytes asked for; for a free, the bytes the block has.
    pub size: u32,
    /// For a realloc, the bytes the block has until now.
    pub old_size: u32,
    /// The alignment, as a power of two.
    pub align_log2: u8,
    /// What to do.
    pub kind: Kind,
}

/// A named load, and what is known of it before it is replayed.
#[derive(Clone, Debug)]
pub struct Load {
    /// As shown in tables.
    pub name: String,
    /// In the order of the program.
    pub ops: Vec<Op>,
    /// Entries the table of live pointers needs.
    pub slots: usize,
    /// The most bytes requested and not yet freed.
    pub peak_live_bytes: usize,
    /// The most blocks live at once.
    pub peak_live_blocks: usize,
}

/// Builds a [`Load`], operation by operation, and assigns slots.
#[derive(Default)]
pub struct LoadBuilder {
    ops: Vec<Op>,
    free_slots: Vec<u32>,
    sizes: Vec<(u32, u8)>,
    live_bytes: usize,
    peak_live_bytes: usize,
    live_blocks: usize,
    peak_live_blocks: usize,
}

impl LoadBuilder {
    /// Appends an allocation and returns its slot. A size of 0 counts as 1.
    pub fn alloc(&mut self, size: u32, align_log2: u8) -> u32 {
        let size = size.max(1);
        let slot = self.free_slots.pop().unwrap_or_else(|| {
            self.sizes.push((0, 0));
            (self.sizes.len() - 1) as u32
        });
        self.sizes[slot as usize] = (size, align_log2);
        self.grew(size as usize);
        self.live_blocks += 1;
        self.peak_live_blocks = self.peak_live_blocks.max(self.live_blocks);
        self.push(Kind::Alloc, slot, size, 0, align_log2);
        slot
    }

    /// Appends the free of the block in `slot`.
    pub fn free(&mut self, slot: u32) {
        let (size, align_log2) = self.sizes[slot as usize];
        self.live_bytes -= size as usize;
        self.live_blocks -= 1;
        self.push(Kind::Free, slot, size, 0, align_log2);
        self.free_slots.push(slot);
    }

    /// Appends a change of size of the block in `slot`. A size of 0 counts as 1.
    pub fn realloc(&mut self, slot: u32, size: u32) {
        let size = size.max(1);
        let (old_size, align_log2) = self.sizes[slot as usize];
        self.live_bytes -= old_size as usize;
        self.grew(size as usize);
        self.sizes[slot as usize].0 = size;
        self.push(Kind::Realloc, slot, size, old_size, align_log2);
    }

    /// The latest operation.
    #[must_use]
    pub fn last(&self) -> Option<&Op> {
        self.ops.last()
    }

    /// Bytes requested and not yet freed.
    #[must_use]
    pub fn live_bytes(&self) -> usize {
        self.live_bytes
    }

    /// The finished load.
    #[must_use]
    pub fn finish(self, name: impl Into<String>) -> Load {
        Load {
            name: name.into(),
            ops: self.ops,
            slots: self.sizes.len(),
            peak_live_bytes: self.peak_live_bytes,
            peak_live_blocks: self.peak_live_blocks,
        }
    }

    fn grew(&mut self, size: usize) {
        self.live_bytes += size;
        self.peak_live_bytes = self.peak_live_bytes.max(self.live_bytes);
    }

    fn push(&mut self, kind: Kind, slot: u32, size: u32, old_size: u32, align_log2: u8) {
        self.ops.push(Op { slot, size, old_size, align_log2, kind });
    }
}
