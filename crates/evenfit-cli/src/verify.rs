//! Watching every byte of every block while a trace is replayed.

use std::alloc::Layout;
use std::collections::BTreeMap;
use std::ops::Range;
use std::ptr::NonNull;

use evenfit_trace::replay::pattern;

/// Checks that blocks lie in the region, are aligned, don't overlap, and keep their contents.
///
/// All the bytes of a block are patterned, also those beyond what was asked for. O(log n) and the
/// block's length for each operation.
pub struct Verifier {
    region: Range<usize>,
    /// Start of each live block to its end and its id.
    live: BTreeMap<usize, (usize, u32)>,
}

/// What was found wrong, as a sentence about "block N".
pub type Fault = String;

impl Verifier {
    /// Observes blocks that must lie in the addresses `region`.
    pub fn new(region: Range<usize>) -> Self {
        Self { region, live: BTreeMap::new() }
    }

    /// Block `id` was allocated. Its bytes before `kept` must have its pattern already.
    ///
    /// # Errors
    /// The block is outside the pool or overlaps another, or has not kept its contents.
    ///
    /// # Safety
    /// The block is live and the caller's; the bytes before `kept` are initialised.
    pub unsafe fn born(
        &mut self,
        id: u32,
        block: NonNull<[u8]>,
        layout: Layout,
        kept: usize,
    ) -> Result<(), Fault> {
        let ptr = block.cast::<u8>();
        let (start, end) = (ptr.addr().get(), ptr.addr().get() + block.len());
        if block.len() < layout.size() {
            let (len, asked) = (block.len(), layout.size());
            return Err(format!("block {id} has {len} bytes where {asked} were asked for"));
        }
        if !start.is_multiple_of(layout.align()) {
            let align = layout.align();
            return Err(format!("block {id} is not aligned to the {align} bytes asked for"));
        }
        if start < self.region.start || end > self.region.end {
            return Err(format!("block {id} does not lie in the pool"));
        }
        if let Some((_, &(before_end, other))) = self.live.range(..end).next_back()
            && before_end > start
        {
            return Err(format!("block {id} overlaps block {other}, which is live"));
        }
        // SAFETY: the caller's promise; the bytes from `kept` on are initialised here.
        let bytes = unsafe {
            ptr.add(kept).write_bytes(0, block.len() - kept);
            std::slice::from_raw_parts_mut(ptr.as_ptr(), block.len())
        };
        keeps(id, &bytes[..kept])?;
        pattern::fill(bytes, seed(id));
        self.live.insert(start, (end, id));
        Ok(())
    }

    /// Block `id` was allocated zeroed: as [`born`](Self::born), and checks the zeros.
    ///
    /// # Errors
    /// As there, or a byte asked for is not zero.
    ///
    /// # Safety
    /// The block is live, the caller's, and initialised for the layout's size.
    pub unsafe fn born_zeroed(
        &mut self,
        id: u32,
        block: NonNull<[u8]>,
        layout: Layout,
    ) -> Result<(), Fault> {
        let count = layout.size().min(block.len());
        // SAFETY: the caller's promise.
        let bytes = unsafe { std::slice::from_raw_parts(block.cast::<u8>().as_ptr(), count) };
        if let Some(at) = bytes.iter().position(|&byte| byte != 0) {
            return Err(format!(
                "byte {at} of block {id} is not zero, though zeros were asked for"
            ));
        }
        // SAFETY: the caller's promise.
        unsafe { self.born(id, block, layout, 0) }
    }

    /// Checks block `id` over its whole length.
    ///
    /// # Errors
    /// A byte was changed.
    ///
    /// # Safety
    /// The block is live, and was reported as born.
    pub unsafe fn intact(&self, id: u32, block: NonNull<[u8]>) -> Result<(), Fault> {
        // SAFETY: `born` has filled the whole block.
        keeps(id, unsafe { block.as_ref() })
    }

    /// Block `id` is no more.
    pub fn died(&mut self, block: NonNull<[u8]>) {
        self.live.remove(&block.cast::<u8>().addr().get());
    }
}

/// Of a block's pattern: not 0, whose pattern begins with zeros.
fn seed(id: u32) -> u64 {
    u64::from(id) + 1
}

fn keeps(id: u32, bytes: &[u8]) -> Result<(), Fault> {
    match pattern::first_difference(bytes, seed(id)) {
        Some(at) => Err(format!("byte {at} of block {id} was changed while the block was live")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_is_found_and_named() {
        let mut memory = [0u8; 256];
        let start = memory.as_ptr().addr();
        let mut verifier = Verifier::new(start..start + 128);
        let bytes = |size| Layout::from_size_align(size, 1).unwrap();
        let whole = NonNull::from(&mut memory);
        let part = |range: Range<usize>| {
            // SAFETY: the ranges lie in `memory`.
            NonNull::slice_from_raw_parts(
                unsafe { whole.cast::<u8>().add(range.start) },
                range.len(),
            )
        };
        // SAFETY: all parts lie in `memory`, initialised and used through `whole` alone.
        unsafe {
            verifier.born(0, part(0..32), bytes(20), 0).unwrap();
            verifier.born_zeroed(1, part(32..64), bytes(32)).unwrap();
            let fault = |result: Result<(), Fault>| result.unwrap_err();
            assert!(
                fault(verifier.born(2, part(16..24), bytes(8), 0)).contains("overlaps block 0")
            );
            assert!(
                fault(verifier.born(2, part(60..70), bytes(8), 0)).contains("overlaps block 1")
            );
            assert!(fault(verifier.born(2, part(120..130), bytes(8), 0)).contains("in the pool"));
            assert!(fault(verifier.born(2, part(64..72), bytes(9), 0)).contains("8 bytes where 9"));
            let odd = Layout::from_size_align(1, 4096).unwrap();
            let unaligned = (64..96).find(|at| !(start + at).is_multiple_of(4096)).unwrap();
            let one = part(unaligned..unaligned + 1);
            assert!(fault(verifier.born(2, one, odd, 0)).contains("aligned"));
            verifier.intact(0, part(0..32)).unwrap();
            verifier.died(part(0..32));
            assert!(fault(verifier.born_zeroed(2, part(0..8), bytes(8))).contains("not zero"));
            part(40..41).cast::<u8>().write(0);
            part(41..42).cast::<u8>().write(0);
            assert!(fault(verifier.intact(1, part(32..64))).contains("changed while"));
            verifier.born(3, part(0..16), bytes(16), 0).unwrap();
            verifier.died(part(0..16));
            assert!(
                fault(verifier.born(4, part(0..16), bytes(16), 8)).contains("byte 0 of block 4")
            );
        }
    }
}
