//! A block or a slab between two neighbours.

use core::fmt;

use evenfit::{Geometry, Tiers};

use crate::states::lens::lens;
use crate::states::picks::Picks;
use crate::states::plan::{Carve, Companions, Laid, POSITIONS, Plan, Position};
use crate::states::world::World;

/// What the neighbour is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Neighbour {
    Used,
    /// Only behind.
    Top,
    /// The rest, of this many granules.
    Rest(usize),
    /// A free block in a list.
    Listed(usize, Position),
}

#[derive(Clone, Copy)]
enum Kind {
    Listed,
    Rest,
    Used,
    Top,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Listed => "a free block",
            Self::Rest => "the rest",
            Self::Used => "a used block",
            Self::Top => "the top",
        })
    }
}

impl Neighbour {
    fn picked<G: Geometry>(picks: &mut Picks, side: &str, is_behind: bool) -> Self {
        let kinds = [Kind::Listed, Kind::Rest, Kind::Used, Kind::Top];
        match picks.of(side, &kinds[..if is_behind { 4 } else { 3 }]) {
            Kind::Used => Self::Used,
            Kind::Top => Self::Top,
            Kind::Rest => Self::Rest(picks.of("of granules:", &lens::<G>())),
            Kind::Listed => {
                let len = picks.of("of granules:", &lens::<G>());
                Self::Listed(len, picks.of("", &POSITIONS))
            }
        }
    }

    /// How many granules of it are free.
    pub(crate) fn free_len(self) -> usize {
        match self {
            Self::Used | Self::Top => 0,
            Self::Rest(len) | Self::Listed(len, _) => len,
        }
    }
}

/// What lies between the neighbours.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Middle {
    /// A block of this many granules.
    Block(usize),
    /// A block that was requested with this many granules and has one more.
    OneMore(usize),
    /// A slab, opened for a slot of this many bytes.
    Slab(usize),
    /// A slab whose block has a granule more.
    SlabOneMore(usize),
}

/// Both neighbours.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Between {
    pub(crate) left: Neighbour,
    pub(crate) right: Neighbour,
    /// Whether the list has another free block of the length that all three have together.
    is_listed_with_another: bool,
}

impl Between {
    pub(crate) fn picked<G: Geometry>(picks: &mut Picks) -> Self {
        Self {
            left: Neighbour::picked::<G>(picks, "before it:", false),
            right: Neighbour::picked::<G>(picks, "behind it:", true),
            is_listed_with_another: picks.of("a free block as long as all three:", &[true, false]),
        }
    }

    /// Lays it out. `None`: this combination is impossible.
    pub(crate) fn lay<T: Tiers, G: Geometry>(
        &self,
        plan: &mut Plan<T, G>,
        middle: Middle,
    ) -> Option<Laid> {
        if self.is_listed_with_another {
            let middle_len = middle.len::<T, G>();
            let len = self.left.free_len() + middle_len + self.right.free_len();
            plan.lay_hole(len, Position::Only);
        }
        let left_companions = Self::companions(self.left, plan);
        let right_companions = Self::companions(self.right, plan);
        let left = match self.left {
            Neighbour::Used | Neighbour::Top => None,
            Neighbour::Listed(len, _) => Some(plan.world.block(len)),
            Neighbour::Rest(len) => {
                let len = World::<T, G>::even(len);
                Some(plan.world.block(World::<T, G>::BLOCK_LEN + len))
            }
        };
        let laid = middle.lay(plan, self.right)?;
        if let Neighbour::Listed(len, _) = self.right {
            let right = plan.lay_apart(len);
            plan.free_at(right, right_companions?);
        }
        match (self.left, left) {
            (Neighbour::Listed(..), Some(left)) => plan.free_at(left, left_companions?),
            (Neighbour::Rest(_), Some(run)) => {
                plan.carve(run, Carve::Block(World::<T, G>::BLOCK_LEN), true)?;
            }
            _ => {}
        }
        Some(laid)
    }

    fn companions<T: Tiers, G: Geometry>(
        neighbour: Neighbour,
        plan: &mut Plan<T, G>,
    ) -> Option<Companions> {
        match neighbour {
            Neighbour::Listed(len, position) => Some(plan.lay_listed(len, position)),
            _ => None,
        }
    }
}

impl Middle {
    pub(crate) fn len<T: Tiers, G: Geometry>(self) -> usize {
        match self {
            Self::Block(len) => World::<T, G>::even(len),
            Self::OneMore(len) => len + 1,
            Self::Slab(_) => World::<T, G>::SLAB_LEN,
            Self::SlabOneMore(_) => World::<T, G>::SLAB_LEN + 1,
        }
    }

    /// Lays it out, and the rest or the used block behind it.
    fn lay<T: Tiers, G: Geometry>(self, plan: &mut Plan<T, G>, right: Neighbour) -> Option<Laid> {
        let len = self.len::<T, G>();
        let has_granule = G::ALIGN_BYTES == G::GRANULE_BYTES && right != Neighbour::Top;
        let laid = match (self, right) {
            (Self::OneMore(_) | Self::SlabOneMore(_), Neighbour::Rest(_)) => return None,
            (Self::Block(len), Neighbour::Rest(rest)) => {
                // Slabs would serve a short request, so a longer block is shrunk.
                let run = plan.world.block((len + rest).max(World::<T, G>::BLOCK_LEN + 2));
                plan.carve(run, Carve::Block(len), true)?
            }
            (Self::Slab(bytes), Neighbour::Rest(rest)) => {
                let run = plan.world.block(len + rest);
                plan.carve(run, Carve::Slab(bytes), true)?
            }
            (Self::Block(_), _) => Laid::Now(plan.world.block(len)),
            (Self::Slab(bytes), _) => Laid::Now(plan.world.slot(bytes)),
            (Self::OneMore(asked), _) if has_granule => {
                let block = plan.world.block(len);
                plan.shrink_by_one(block, asked)
            }
            (Self::SlabOneMore(bytes), _) if has_granule => {
                let run = plan.world.block(len);
                plan.carve(run, Carve::Slab(bytes), false)?
            }
            _ => return None,
        };
        match right {
            Neighbour::Used | Neighbour::Rest(_) => plan.world.apart(),
            Neighbour::Top | Neighbour::Listed(..) => {}
        }
        Some(laid)
    }
}
