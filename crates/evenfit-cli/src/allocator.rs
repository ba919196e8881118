//! Which allocators a trace can be replayed in.

use std::mem::MaybeUninit;

use clap::ValueEnum;
use evenfit::{Aligned, Auto, Compact, FirstFit, Geometry, Heap, InitError, Standard, Tiers, Wide};
use evenfit_bound::Cut;
use evenfit_trace::replay::Allocator;
use schemars::JsonSchema;
use serde::Serialize;

/// An allocator. The heap's geometry is the program's: see
/// [`Program::cut`](crate::drive::Program::cut).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The heap: constant time, no headers; small requests from slabs in pools of 1 MiB and more
    Heap,
    /// The heap without slabs: where a proved bound on space is what counts
    Blocks,
    /// The heap with slabs, however small the pool
    Slabs,
    /// The heap for small devices: blocks only, pools up to 511 KiB
    Compact,
    /// The teaching free list: time grows with the pool, a header on every block
    FirstFit,
}

impl Kind {
    /// Its name in a sentence.
    pub fn name(self) -> &'static str {
        match self {
            Self::Heap => "the heap",
            Self::Blocks => "the heap without slabs",
            Self::Slabs => "the heap with slabs",
            Self::Compact => "the compact heap",
            Self::FirstFit => "the first-fit free list",
        }
    }

    /// Its name after `--allocator`.
    pub fn flag(self) -> &'static str {
        match self {
            Self::Heap => "heap",
            Self::Blocks => "blocks",
            Self::Slabs => "slabs",
            Self::Compact => "compact",
            Self::FirstFit => "first-fit",
        }
    }
}

impl Kind {
    /// The length of a region at a page boundary whose pool has at least `pool_bytes`, in the
    /// geometry `cut`. `None`: more than this machine can address.
    pub fn region_bytes(self, cut: Cut, pool_bytes: usize) -> Option<usize> {
        let granules = |cut: Cut| (pool_bytes as u64).div_ceil(cut.granule_bytes);
        let region_bytes = match self {
            Self::Heap => {
                let blocks_only = Self::Blocks.region_bytes(cut, pool_bytes)?;
                return if blocks_only < Auto::SLABS_REGION_BYTES_MIN {
                    Some(blocks_only)
                } else {
                    Self::Slabs.region_bytes(cut, pool_bytes)
                };
            }
            Self::Blocks => cut.region_bytes(granules(cut)),
            Self::Slabs => cut.region_bytes_with_slabs(granules(cut)),
            Self::Compact => Cut::COMPACT.region_bytes(granules(Cut::COMPACT)),
            Self::FirstFit => Some(pool_bytes as u64),
        };
        usize::try_from(region_bytes?).ok()
    }
}

/// A computation that is generic over the allocator: see [`Kind::build`].
pub trait Visit {
    /// The result.
    type Output;

    /// Runs with the allocator.
    fn visit<A: Allocator>(self, allocator: A) -> Self::Output;
}

impl Kind {
    /// Builds the allocator over `region`, in the geometry `cut` if it has several, and passes it
    /// to `visitor`.
    ///
    /// # Errors
    /// The region is too small or too large for it.
    pub fn build<V: Visit>(
        self,
        cut: Cut,
        region: &mut [MaybeUninit<u8>],
        visitor: V,
    ) -> Result<V::Output, InitError> {
        match self {
            Self::FirstFit => Ok(visitor.visit(FirstFit::from_region(region)?)),
            Self::Compact => {
                let compact = Heap::builder().blocks_only().geometry::<Compact>();
                Ok(visitor.visit(compact.build(region)?))
            }
            _ if cut == Cut::ALIGNED => self.build_of::<Aligned, V>(region, visitor),
            _ if cut == Cut::WIDE => self.build_of::<Wide, V>(region, visitor),
            _ => self.build_of::<Standard, V>(region, visitor),
        }
    }

    fn build_of<G: Geometry, V: Visit>(
        self,
        region: &mut [MaybeUninit<u8>],
        visitor: V,
    ) -> Result<V::Output, InitError> {
        let heap = Heap::builder().geometry::<G>();
        Ok(match self {
            Self::Blocks => visitor.visit(heap.blocks_only().build(region)?),
            Self::Slabs => visitor.visit(heap.with_slabs().build(region)?),
            _ => visitor.visit(heap.tiers::<Auto>().build(region)?),
        })
    }
}
