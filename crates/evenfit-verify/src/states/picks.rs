//! A state is described by its picks: which of some choices each part of it is.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{Display, Write};

/// One pick: the index of a choice, and how many there were.
#[derive(Clone, Copy, Debug)]
struct Pick {
    index: usize,
    choices: usize,
}

/// The picks of one state, in the order in which its builder asks for them, and their names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Picks {
    picks: Vec<Pick>,
    /// How many the builder has asked for.
    asked: usize,
    /// The state of the generator from which further picks are drawn.
    random: u64,
    text: String,
}

impl Picks {
    /// Picks that are random, but the same for the same seed.
    pub(crate) fn random(seed: u64) -> Self {
        Self { random: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1, ..Self::default() }
    }

    /// The builder's pick from `choices`, of which there is at least one.
    pub(crate) fn of<C: Copy + Display>(&mut self, what: &str, choices: &[C]) -> C {
        if self.asked == self.picks.len() {
            let index = self.draw(choices.len());
            self.picks.push(Pick { index, choices: 0 });
        }
        let pick = &mut self.picks[self.asked];
        self.asked += 1;
        // If an earlier pick differs, there may be fewer choices here.
        pick.index %= choices.len();
        pick.choices = choices.len();
        let choice = choices[pick.index];
        let separator = if self.text.is_empty() { "" } else { "; " };
        write!(self.text, "{separator}{what} {choice}").expect("a string takes all");
        choice
    }

    fn draw(&mut self, choices: usize) -> usize {
        // xorshift64*
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % choices
    }

    /// What was picked, in words.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The same picks for another builder, which asks for them from the first on.
    pub(crate) fn again(&self) -> Self {
        Self { picks: self.picks.clone(), random: self.random, ..Self::default() }
    }

    /// How many picks the builder asked for.
    pub(crate) fn len(&self) -> usize {
        self.asked
    }

    /// These picks with another choice at `position`, for each other choice there is.
    pub(crate) fn others(&self, position: usize) -> impl Iterator<Item = Self> + '_ {
        let Pick { index, choices } = self.picks[position];
        (1..choices).map(move |distance| {
            let mut other = self.again();
            other.picks[position].index = (index + distance) % choices;
            other
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    /// A builder that asks for one more pick if the first is 1.
    fn build(picks: &mut Picks) -> Vec<u32> {
        let mut built = vec![picks.of("a", &[0, 1])];
        if built[0] == 1 {
            built.push(picks.of("b", &[5, 6, 7]));
        }
        built.push(picks.of("c", &[8, 9]));
        built
    }

    #[test]
    fn the_same_seed_picks_the_same() {
        let built: Vec<_> = (0..40).map(|seed| build(&mut Picks::random(seed))).collect();
        for (seed, built) in (0..).zip(&built) {
            assert_eq!(build(&mut Picks::random(seed)), *built);
        }
        for picked in [vec![0, 8], vec![0, 9], vec![1, 5, 8], vec![1, 7, 9]] {
            assert!(built.contains(&picked), "{picked:?}");
        }
    }

    #[test]
    fn others_differ_in_one_pick() {
        let mut picks = Picks::random(7);
        while build(&mut picks)[0] == 0 {
            picks = Picks::random(picks.random);
        }
        let built = build(&mut picks.again());
        let others: Vec<_> = picks.others(1).map(|mut other| build(&mut other)).collect();
        assert_eq!(others.len(), 2);
        for other in others {
            assert_eq!((other[0], other[2]), (built[0], built[2]));
            assert_ne!(other[1], built[1]);
        }
        assert_eq!(picks.text().matches(';').count(), 2);
    }
}
