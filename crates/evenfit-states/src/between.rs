//! A block between two neighbours.

use core::fmt;

use evenfit::Geometry;

use crate::choice::Choice;
use crate::world::{Place, SEPARATOR, World};

/// A block between two neighbours, each free or used, in a heap with nothing else but their companions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Between {
    pub(crate) offset: usize,
    pub(crate) left: usize,
    pub(crate) left_place: Place,
    pub(crate) block: usize,
    pub(crate) right: usize,
    pub(crate) right_place: Place,
    /// Whether the top follows, instead of a used block.
    pub(crate) at_top: bool,
    /// Whether nothing is left but the neighbours and their companions.
    pub(crate) is_full: bool,
}

impl Between {
    /// Builds the state; `middle` makes what lies between the neighbours.
    pub(crate) fn build<G: Geometry, T>(
        &self,
        world: &mut World<G>,
        middle: impl FnOnce(&mut World<G>) -> T,
    ) -> T {
        world.granules(self.offset);
        let left_companions = world.companions(
            self.left.max(1),
            if self.left > 0 {
                self.left_place
            } else {
                Place::Only
            },
        );
        let right_companions = world.companions(
            self.right.max(1),
            if self.right > 0 {
                self.right_place
            } else {
                Place::Only
            },
        );
        let left = (self.left > 0).then(|| world.granules(self.left));
        let made = middle(world);
        let right = (self.right > 0).then(|| world.granules(self.right));
        if !self.at_top {
            world.granules(SEPARATOR);
        }
        if self.is_full {
            world.fill_top();
        }
        if let Some(left) = left {
            world.free_at(left, &left_companions, self.left_place);
        }
        if let Some(right) = right {
            world.free_at(right, &right_companions, self.right_place);
        }
        made
    }
}

impl fmt::Display for Between {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let neighbour = |f: &mut fmt::Formatter<'_>, granules: usize, place| match granules {
            0 => f.write_str("none"),
            _ => write!(f, "{granules} granules, {place}"),
        };
        write!(f, "{} granules in front", self.offset)?;
        if self.block > 0 {
            write!(f, "; a block of {}", self.block)?;
        }
        f.write_str("; free before it: ")?;
        neighbour(f, self.left, self.left_place)?;
        f.write_str("; free behind it: ")?;
        neighbour(f, self.right, self.right_place)?;
        if self.at_top {
            f.write_str("; then the top")?;
        }
        if self.is_full {
            f.write_str("; the pool else full")?;
        }
        Ok(())
    }
}

pub(crate) fn each_between(choice: &Choice, mut visit: impl FnMut(Between)) {
    for &offset in choice.offsets {
        for &block in choice.blocks {
            for &left in choice.neighbours {
                for &right in choice.neighbours {
                    for &left_place in places(choice, left) {
                        for &right_place in places(choice, right) {
                            for at_top in [false, true] {
                                visit(Between {
                                    offset,
                                    left,
                                    left_place,
                                    block,
                                    right,
                                    right_place,
                                    at_top,
                                    is_full: false,
                                });
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Where a block of no length stands doesn't matter.
fn places(choice: &Choice, granules: usize) -> &'static [Place] {
    if granules == 0 {
        &[Place::Only]
    } else {
        choice.places
    }
}
