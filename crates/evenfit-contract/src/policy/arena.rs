//! A pool as a chain of blocks in address order; which free block is taken is an [`Index`]'s choice.

use super::Placement;

/// A block of a simulated pool.
pub type Handle = u32;

const NONE: Handle = Handle::MAX;

/// Free blocks, found the policy's way.
pub(super) trait Index {
    /// A free block came to be.
    fn insert(&mut self, block: Handle, start: u64, len: u64);
    /// A free block is taken or grows.
    fn remove(&mut self, block: Handle, start: u64, len: u64);
    /// The free block for a request, and how many places were looked at.
    fn find(&mut self, granules: u64) -> (Option<Handle>, u64);
    /// The largest request that `find` serves.
    fn largest(&self) -> u64;
}

#[derive(Clone, Copy, Debug)]
struct Node {
    start: u64,
    len: u64,
    before: Handle,
    after: Handle,
    free: bool,
}

/// A pool under a policy that splits and coalesces at once.
pub struct Space {
    nodes: Vec<Node>,
    spare: Vec<Handle>,
    index: Box<dyn Index>,
    /// The last node is free, outside the index, and taken only when the index finds nothing.
    top: Option<Handle>,
    steps: u64,
}

impl Space {
    pub(super) fn new(granules: u64, mut index: Box<dyn Index>, has_top: bool) -> Self {
        let all = Node {
            start: 0,
            len: granules,
            before: NONE,
            after: NONE,
            free: true,
        };
        if !has_top && granules > 0 {
            index.insert(0, 0, granules);
        }
        Self {
            nodes: vec![all],
            spare: Vec::new(),
            index,
            top: has_top.then_some(0),
            steps: 0,
        }
    }

    /// Where the top begins: all from there on was given back or never used. The pool's end where the policy has none.
    pub fn top(&self) -> u64 {
        match self.top {
            Some(top) => self.nodes[top as usize].start,
            None => self.nodes.last().map_or(0, |node| node.start + node.len),
        }
    }

    fn node(&self, at: Handle) -> Node {
        self.nodes[at as usize]
    }

    fn new_node(&mut self, node: Node) -> Handle {
        if let Some(at) = self.spare.pop() {
            self.nodes[at as usize] = node;
            return at;
        }
        self.nodes.push(node);
        (self.nodes.len() - 1) as Handle
    }

    /// Cuts `at` after `len` granules; the rest is a new node of the same state, in no index.
    fn cut(&mut self, at: Handle, len: u64) -> Handle {
        let node = self.node(at);
        let rest = self.new_node(Node {
            start: node.start + len,
            len: node.len - len,
            before: at,
            ..node
        });
        self.nodes[at as usize].len = len;
        self.nodes[at as usize].after = rest;
        if node.after != NONE {
            self.nodes[node.after as usize].before = rest;
        }
        rest
    }

    /// Lets `at` take in the node behind it.
    fn join(&mut self, at: Handle) {
        let behind = self.node(at).after;
        let gone = self.node(behind);
        self.nodes[at as usize].len += gone.len;
        self.nodes[at as usize].after = gone.after;
        if gone.after != NONE {
            self.nodes[gone.after as usize].before = at;
        }
        self.spare.push(behind);
    }

    fn list(&mut self, at: Handle) {
        let Node { start, len, .. } = self.node(at);
        self.index.insert(at, start, len);
    }

    fn unlist(&mut self, at: Handle) {
        let Node { start, len, .. } = self.node(at);
        self.index.remove(at, start, len);
    }

    /// A free neighbour that is in the index.
    fn listed(&self, at: Handle) -> bool {
        at != NONE && self.node(at).free && Some(at) != self.top
    }

    /// Takes `granules` out of the free node `at`, which is in no index, beginning `lead` granules in.
    fn take(&mut self, at: Handle, lead: u64, granules: u64) -> Handle {
        let is_top = Some(at) == self.top;
        let mut block = at;
        if lead > 0 {
            block = self.cut(at, lead);
            self.list(at);
        }
        if is_top {
            // The top stays a node, even of no length.
            let rest = self.cut(block, granules);
            self.top = Some(rest);
        } else if self.node(block).len > granules {
            let rest = self.cut(block, granules);
            self.list(rest);
        }
        self.nodes[block as usize].free = false;
        block
    }

    fn lead(&self, at: Handle, align: u64) -> u64 {
        let start = self.node(at).start;
        start.next_multiple_of(align) - start
    }
}

impl Placement for Space {
    fn allocate(&mut self, granules: u64, align: u64) -> Option<Handle> {
        for least in if align == 1 {
            vec![granules]
        } else {
            vec![granules + align - 1, granules]
        } {
            let (found, steps) = self.index.find(least);
            self.steps += steps;
            if let Some(at) = found {
                let lead = self.lead(at, align);
                if lead + granules <= self.node(at).len {
                    self.unlist(at);
                    return Some(self.take(at, lead, granules));
                }
            }
        }
        let top = self.top?;
        let lead = self.lead(top, align);
        (lead + granules <= self.node(top).len).then(|| self.take(top, lead, granules))
    }

    fn free(&mut self, block: Handle) {
        let mut at = block;
        self.nodes[at as usize].free = true;
        let Node { before, after, .. } = self.node(at);
        if self.listed(after) {
            self.unlist(after);
            self.join(at);
        }
        if self.listed(before) {
            self.unlist(before);
            self.join(before);
            at = before;
        }
        if self.top.is_some() && self.top == Some(self.node(at).after) {
            self.join(at);
            self.top = Some(at);
        } else {
            self.list(at);
        }
    }

    fn resize(&mut self, block: Handle, granules: u64) -> bool {
        let Node { len, after, .. } = self.node(block);
        let behind_is_free = after != NONE && self.node(after).free;
        let room = if behind_is_free {
            self.node(after).len
        } else {
            0
        };
        if granules > len + room {
            return false;
        }
        if granules == len {
            return true;
        }
        let at_top = behind_is_free && Some(after) == self.top;
        if behind_is_free {
            if !at_top {
                self.unlist(after);
            }
            self.join(block);
        }
        if at_top || granules < len + room {
            let rest = self.cut(block, granules);
            self.nodes[rest as usize].free = true;
            if at_top {
                self.top = Some(rest);
            } else {
                self.list(rest);
            }
        }
        true
    }

    fn extent(&self, block: Handle) -> (u64, u64) {
        let Node { start, len, .. } = self.node(block);
        (start, len)
    }

    fn largest(&self) -> u64 {
        let top = self.top.map_or(0, |top| self.node(top).len);
        self.index.largest().max(top)
    }

    fn steps(&self) -> u64 {
        self.steps
    }
}
