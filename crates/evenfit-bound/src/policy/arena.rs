//! A pool as a chain of blocks in address order. An [`Index`] chooses which free block serves a
//! request.

use super::Placement;

/// A block of a simulated pool.
pub type Handle = u32;

pub(super) const NONE: Handle = Handle::MAX;

/// The free blocks, and a policy's search among them.
pub(super) trait Index {
    /// Adds a free block.
    fn insert(&mut self, block: Handle, start: u64, len: u64);
    /// Removes a free block, which is allocated or merges.
    fn remove(&mut self, block: Handle, start: u64, len: u64);
    /// The free block for a request, and how many blocks or bins the search looked at.
    fn find(&mut self, granules: u64) -> (Option<Handle>, u64);
    /// The largest request that `find` serves.
    fn largest(&self) -> u64;
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    pub(super) start: u64,
    pub(super) len: u64,
    pub(super) before: Handle,
    pub(super) after: Handle,
    pub(super) free: bool,
}

/// All blocks of a pool, used and free, in address order.
pub(super) struct Chain {
    nodes: Vec<Node>,
    spare: Vec<Handle>,
}

impl Chain {
    /// One free block, the first.
    pub(super) fn new(granules: u64) -> Self {
        let all = Node { start: 0, len: granules, before: NONE, after: NONE, free: true };
        Self { nodes: vec![all], spare: Vec::new() }
    }

    pub(super) fn node(&self, at: Handle) -> Node {
        self.nodes[at as usize]
    }

    pub(super) fn set_free(&mut self, at: Handle, free: bool) {
        self.nodes[at as usize].free = free;
    }

    /// How far from the block's start the first multiple of `align` granules is.
    pub(super) fn lead(&self, at: Handle, align: u64) -> u64 {
        let start = self.node(at).start;
        start.next_multiple_of(align) - start
    }

    fn new_node(&mut self, node: Node) -> Handle {
        if let Some(at) = self.spare.pop() {
            self.nodes[at as usize] = node;
            return at;
        }
        self.nodes.push(node);
        (self.nodes.len() - 1) as Handle
    }

    /// Cuts `at` after `len` granules; what is behind is a new node of the same state.
    pub(super) fn cut(&mut self, at: Handle, len: u64) -> Handle {
        let node = self.node(at);
        let behind = self.new_node(Node {
            start: node.start + len,
            len: node.len - len,
            before: at,
            ..node
        });
        self.nodes[at as usize].len = len;
        self.nodes[at as usize].after = behind;
        if node.after != NONE {
            self.nodes[node.after as usize].before = behind;
        }
        behind
    }

    /// Merges `at` with the node behind it.
    pub(super) fn join(&mut self, at: Handle) {
        let behind = self.node(at).after;
        let gone = self.node(behind);
        self.nodes[at as usize].len += gone.len;
        self.nodes[at as usize].after = gone.after;
        if gone.after != NONE {
            self.nodes[gone.after as usize].before = at;
        }
        self.spare.push(behind);
    }
}

/// A pool under a policy that splits and coalesces at once, and has all free blocks in its index.
pub(super) struct Space {
    chain: Chain,
    index: Box<dyn Index>,
    steps: u64,
}

impl Space {
    pub(super) fn new(granules: u64, mut index: Box<dyn Index>) -> Self {
        if granules > 0 {
            index.insert(0, 0, granules);
        }
        Self { chain: Chain::new(granules), index, steps: 0 }
    }

    fn list(&mut self, at: Handle) {
        let Node { start, len, .. } = self.chain.node(at);
        self.index.insert(at, start, len);
    }

    fn unlist(&mut self, at: Handle) {
        let Node { start, len, .. } = self.chain.node(at);
        self.index.remove(at, start, len);
    }

    fn is_free(&self, at: Handle) -> bool {
        at != NONE && self.chain.node(at).free
    }

    /// Allocates `granules` from the free node `at`, which is in no index, `lead` granules behind
    /// its start.
    fn take(&mut self, at: Handle, lead: u64, granules: u64) -> Handle {
        let mut block = at;
        if lead > 0 {
            block = self.chain.cut(at, lead);
            self.list(at);
        }
        if self.chain.node(block).len > granules {
            let behind = self.chain.cut(block, granules);
            self.list(behind);
        }
        self.chain.set_free(block, false);
        block
    }
}

impl Placement for Space {
    fn allocate(&mut self, granules: u64, align: u64) -> Option<Handle> {
        for least in if align == 1 { vec![granules] } else { vec![granules + align - 1, granules] }
        {
            let (found, steps) = self.index.find(least);
            self.steps += steps;
            if let Some(at) = found {
                let lead = self.chain.lead(at, align);
                if lead + granules <= self.chain.node(at).len {
                    self.unlist(at);
                    return Some(self.take(at, lead, granules));
                }
            }
        }
        None
    }

    fn free(&mut self, block: Handle) {
        let mut at = block;
        self.chain.set_free(at, true);
        let Node { before, after, .. } = self.chain.node(at);
        if self.is_free(after) {
            self.unlist(after);
            self.chain.join(at);
        }
        if self.is_free(before) {
            self.unlist(before);
            self.chain.join(before);
            at = before;
        }
        self.list(at);
    }

    fn resize(&mut self, block: Handle, granules: u64) -> bool {
        let Node { len, after, .. } = self.chain.node(block);
        let behind_is_free = self.is_free(after);
        let room = if behind_is_free { self.chain.node(after).len } else { 0 };
        if granules > len + room {
            return false;
        }
        if granules == len {
            return true;
        }
        if behind_is_free {
            self.unlist(after);
            self.chain.join(block);
        }
        if granules < len + room {
            let behind = self.chain.cut(block, granules);
            self.chain.set_free(behind, true);
            self.list(behind);
        }
        true
    }

    fn extent(&self, block: Handle) -> (u64, u64) {
        let Node { start, len, .. } = self.chain.node(block);
        (start, len)
    }

    fn largest(&self) -> u64 {
        self.index.largest()
    }

    fn steps(&self) -> u64 {
        self.steps
    }
}
