//! Tries every possible program of small parameters: finds the exact pool that none can exhaust.
//!
//! States of the pool are visited breadth first, each once, with a state's identity being all that
//! a policy can see: the pieces in address order and the order of its free lists. Programs do
//! whatever their demands allow.
//!
//! Where a policy takes the end of the pool only when nothing else fits, pools of all lengths
//! behave alike until the shorter one fails; so one search without an end tells the exact minimum:
//! the furthest granule ever reached. evenfit's block tier grows blocks into the end and looks
//! there before it looks for a longer hole for an aligned block, so that a longer pool may fail
//! where a shorter one doesn't. Its minimum is the shortest pool from which on none fails: searched
//! downwards from one that is proved safe.

mod space;
mod with_rest;

use std::collections::HashMap;
use std::marker::PhantomData;
use std::rc::Rc;

use self::space::Space;
use self::with_rest::WithRest;
use crate::geometry::Cut;
use crate::safe::{self, Demand};

/// A placement policy, in its simplest form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// evenfit's block tier: see [`policy::Evenfit`](crate::policy::Evenfit).
    Evenfit(Cut),
    /// The lowest free piece that is large enough.
    FirstFit,
    /// The smallest free piece that is large enough, the lowest of several.
    BestFit,
    /// o1heap's half fit: a block has a power of two of granules, its header included; bins by
    /// powers of two.
    HalfFit {
        /// Granules of a block that aren't the program's.
        header: u64,
    },
    /// A binary buddy system over aligned powers of two, as SQLite's memsys5: the lowest of the
    /// smallest that fit.
    Buddy,
}

impl Rule {
    /// Whether the pool's end is taken only when nothing else fits.
    fn has_top(self) -> bool {
        matches!(self, Self::FirstFit | Self::BestFit)
    }

    /// The piece that a request takes.
    fn block(self, granules: u64) -> u64 {
        match self {
            Self::HalfFit { header } => (granules + header).next_power_of_two(),
            Self::Buddy => granules.next_power_of_two(),
            _ => granules,
        }
    }

    /// Free pieces with the same number here are on one list, whose order matters.
    fn list(self, granules: u64) -> Option<u64> {
        match self {
            Self::HalfFit { .. } => Some(u64::from(granules.ilog2())),
            _ => None,
        }
    }
}

/// What programs may do.
#[derive(Clone, Debug)]
pub struct Programs<'a> {
    /// Their blocks.
    pub demands: &'a [Demand],
    /// Most granules live at once, beside what the demands allow.
    pub total: Option<u64>,
    /// Whether blocks are also shortened and lengthened where they are.
    pub resizes: bool,
}

/// One step of a program. Blocks are named in the order of their allocation, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A new block.
    Alloc {
        /// Of which demand.
        demand: usize,
        /// Its size.
        granules: u64,
    },
    /// Frees a block.
    Free {
        /// Which.
        block: usize,
    },
    /// A block made shorter or longer where it is.
    Resize {
        /// Which.
        block: usize,
        /// Its new size.
        granules: u64,
    },
}

/// The exact minimum and a program that needs it.
#[derive(Clone, Debug)]
pub struct Exact {
    /// The smallest pool that serves every program, as every longer one does.
    pub granules: u64,
    /// A program that fails in the pool next smaller.
    pub witness: Vec<Step>,
    /// States visited.
    pub states: u64,
    /// Steps taken from them.
    pub transitions: u64,
}

/// The longest pool whose states can be told apart, in granules.
pub const POOL_MAX: u64 = u16::MAX as u64 / 2;
/// The most demands that blocks can be told apart by.
pub const DEMANDS_MAX: usize = u8::MAX as usize;

/// There are more states than allowed, a pool longer than [`POOL_MAX`] or more than [`DEMANDS_MAX`]
/// demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany {
    /// How many were allowed.
    pub states: usize,
}

/// The exact smallest pool for `rule`, visiting at most `states_max` states in each pool tried.
///
/// # Errors
/// [`TooMany`]: the parameters are too large for this.
pub fn smallest(rule: Rule, programs: &Programs, states_max: usize) -> Result<Exact, TooMany> {
    match rule {
        Rule::Evenfit(cut) => smallest_of_evenfit(cut, programs, states_max),
        _ => smallest_of(rule, programs, states_max),
    }
}

/// Downwards from a pool that is safe: by proof, or since no program finds the top of any longer
/// one too short.
fn smallest_of_evenfit(cut: Cut, programs: &Programs, states_max: usize) -> Result<Exact, TooMany> {
    let rule = Rule::Evenfit(cut);
    let too_many = TooMany { states: states_max };
    let safe = safe::pool(cut, programs.demands).ok_or(too_many)?.granules;
    if safe > POOL_MAX || programs.demands.len() > DEMANDS_MAX {
        return Err(too_many);
    }
    let mut search = Search::<WithRest>::new(rule, programs, states_max, None);
    search.run()?;
    let slack = programs.demands.iter().map(|demand| demand.slack).max();
    let slack = slack.unwrap_or(0).next_multiple_of(cut.align_granules);
    let mut exact = Exact { granules: safe.min(search.furthest.0 + slack), ..search.exact() };
    while exact.granules > 0 {
        let shorter = exact.granules - cut.align_granules;
        let mut search = Search::<WithRest>::new(rule, programs, states_max, Some(shorter));
        search.run()?;
        exact.states += search.states.len() as u64;
        exact.transitions += search.transitions;
        if let Some(witness) = search.failure() {
            exact.witness = witness;
            break;
        }
        exact.granules = shorter;
    }
    Ok(exact)
}

fn smallest_of(rule: Rule, programs: &Programs, states_max: usize) -> Result<Exact, TooMany> {
    if rule.has_top() {
        let mut search = Search::<Space>::new(rule, programs, states_max, None);
        search.run()?;
        return Ok(search.exact());
    }
    let mut granules = programs.demands.iter().map(|d| rule.block(d.max)).max().unwrap_or(0);
    let mut witness = Vec::new();
    let (mut states, mut transitions) = (0, 0);
    loop {
        let mut search = Search::<Space>::new(rule, programs, states_max, Some(granules));
        search.run()?;
        states += search.states.len() as u64;
        transitions += search.transitions;
        match search.failure() {
            Some(steps) => (witness, granules) = (steps, granules + 1),
            None => {
                return Ok(Exact { granules, witness, states, transitions });
            }
        }
    }
}

/// A program that fails in a pool of `granules`, if there is one.
///
/// # Errors
/// [`TooMany`]: the parameters are too large for this.
pub fn failing(
    rule: Rule,
    programs: &Programs,
    granules: u64,
    states_max: usize,
) -> Result<Option<Vec<Step>>, TooMany> {
    match rule {
        Rule::Evenfit(_) => failing_of::<WithRest>(rule, programs, granules, states_max),
        _ => failing_of::<Space>(rule, programs, granules, states_max),
    }
}

fn failing_of<S: Simulated>(
    rule: Rule,
    programs: &Programs,
    granules: u64,
    states_max: usize,
) -> Result<Option<Vec<Step>>, TooMany> {
    let mut search = Search::<S>::new(rule, programs, states_max, Some(granules));
    search.run()?;
    Ok(search.failure())
}

/// A live block of a simulated pool.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Used {
    /// The demand it is of, from 1.
    pub(crate) owner: u8,
    pub(crate) start: u64,
    /// What the program asked for.
    pub(crate) asked: u64,
}

/// A pool under a rule. Its state is all that the rule can see.
pub(crate) trait Simulated: Clone {
    /// An empty pool; `end` is its length, without one it has none.
    fn new(rule: Rule, end: Option<u64>) -> Self;
    /// The pool in the state of a key.
    fn of_key(rule: Rule, end: Option<u64>, key: &[u8]) -> Self;
    fn key(&self) -> Rc<[u8]>;
    /// The live blocks, in address order.
    fn blocks(&self) -> Vec<Used>;
    /// Where the last live block ends, or the pool.
    fn reach(&self) -> u64;
    /// Takes a block; whether there was room.
    fn take(&mut self, owner: u8, granules: u64, slack: u64) -> bool;
    fn give_back(&mut self, start: u64);
    /// Resizes a block to `granules` in place. Says whether that was possible.
    fn resize(&mut self, start: u64, granules: u64) -> bool;
}

/// The state of a pool in bytes: of each piece, in address order, its length, its owner and one
/// detail more.
fn key_of(pieces: impl Iterator<Item = (u64, u8, u8)>) -> Rc<[u8]> {
    pieces
        .flat_map(|(len, owner, detail)| {
            let [low, high] = (len as u16).to_le_bytes();
            [low, high, owner, detail]
        })
        .collect()
}

/// The pieces again.
fn pieces_of(key: &[u8]) -> impl Iterator<Item = (u64, u8, u8)> {
    key.chunks_exact(4)
        .map(|part| (u64::from(u16::from_le_bytes([part[0], part[1]])), part[2], part[3]))
}

/// A step, its block named by where it starts.
#[derive(Clone, Copy, Debug)]
enum Move {
    Alloc(usize, u64),
    Free(u64),
    Resize(u64, u64),
}

struct Search<'a, S> {
    rule: Rule,
    programs: &'a Programs<'a>,
    states_max: usize,
    end: Option<u64>,
    states: Vec<(Rc<[u8]>, u32, Move)>,
    seen: HashMap<Rc<[u8]>, u32>,
    transitions: u64,
    furthest: (u64, u32),
    failed: Option<(u32, Move)>,
    pool: PhantomData<S>,
}

impl<'a, S: Simulated> Search<'a, S> {
    fn new(rule: Rule, programs: &'a Programs<'a>, states_max: usize, end: Option<u64>) -> Self {
        let start = S::new(rule, end).key();
        Self {
            rule,
            programs,
            states_max,
            end,
            states: vec![(start.clone(), 0, Move::Free(0))],
            seen: HashMap::from([(start, 0)]),
            transitions: 0,
            furthest: (0, 0),
            failed: None,
            pool: PhantomData,
        }
    }

    fn run(&mut self) -> Result<(), TooMany> {
        let mut next = 0;
        while next < self.states.len() && self.failed.is_none() {
            let space = S::of_key(self.rule, self.end, &self.states[next].0);
            self.step_from(next as u32, &space)?;
            next += 1;
        }
        Ok(())
    }

    fn step_from(&mut self, from: u32, space: &S) -> Result<(), TooMany> {
        let blocks = space.blocks();
        let live: u64 = blocks.iter().map(|block| block.asked).sum();
        let room = |more: u64| self.programs.total.is_none_or(|total| live + more <= total);
        let programs = self.programs;
        for (demand, wanted) in programs.demands.iter().enumerate() {
            let owner = demand as u8 + 1;
            let count = blocks.iter().filter(|block| block.owner == owner).count();
            if count as u64 >= wanted.most_live {
                continue;
            }
            for granules in wanted.min..=wanted.max {
                if room(granules) {
                    let mut after = space.clone();
                    let taken = after.take(owner, granules, wanted.slack);
                    self.arrive(from, Move::Alloc(demand, granules), taken.then_some(after))?;
                }
            }
        }
        for Used { owner, start, asked } in blocks {
            let mut after = space.clone();
            after.give_back(start);
            self.arrive(from, Move::Free(start), Some(after))?;
            let demand = &programs.demands[usize::from(owner) - 1];
            for granules in demand.min..=demand.max {
                let mut after = space.clone();
                let allowed =
                    programs.resizes && granules != asked && room(granules.saturating_sub(asked));
                if allowed && after.resize(start, granules) {
                    self.arrive(from, Move::Resize(start, granules), Some(after))?;
                }
            }
        }
        Ok(())
    }

    fn arrive(&mut self, from: u32, step: Move, after: Option<S>) -> Result<(), TooMany> {
        self.transitions += 1;
        let Some(space) = after else {
            self.failed.get_or_insert((from, step));
            return Ok(());
        };
        let key = space.key();
        let id = self.states.len() as u32;
        if self.seen.contains_key(&key) {
            return Ok(());
        }
        if self.states.len() >= self.states_max {
            return Err(TooMany { states: self.states_max });
        }
        self.seen.insert(key.clone(), id);
        self.states.push((key, from, step));
        let reach = space.reach();
        if reach > self.furthest.0 {
            self.furthest = (reach, id);
        }
        Ok(())
    }

    fn exact(&self) -> Exact {
        Exact {
            granules: self.furthest.0,
            witness: self.path(self.furthest.1, None),
            states: self.states.len() as u64,
            transitions: self.transitions,
        }
    }

    fn failure(&self) -> Option<Vec<Step>> {
        self.failed.map(|(from, step)| self.path(from, Some(step)))
    }

    /// The steps that lead to a state, blocks named by the order of their allocation.
    fn path(&self, mut id: u32, last: Option<Move>) -> Vec<Step> {
        let mut moves: Vec<Move> = last.into_iter().collect();
        while id != 0 {
            let (_, from, step) = self.states[id as usize];
            moves.push(step);
            id = from;
        }
        let mut space = S::new(self.rule, self.end);
        let mut ids: HashMap<u64, usize> = HashMap::new();
        let mut allocations = 0;
        let steps = moves.into_iter().rev().map(|step| match step {
            Move::Alloc(demand, granules) => {
                let before = space.clone();
                let slack = self.programs.demands[demand].slack;
                if space.take(demand as u8 + 1, granules, slack) {
                    ids.insert(new_block(&before, &space), allocations);
                }
                allocations += 1;
                Step::Alloc { demand, granules }
            }
            Move::Free(start) => {
                space.give_back(start);
                Step::Free { block: ids.remove(&start).unwrap_or_default() }
            }
            Move::Resize(start, granules) => {
                space.resize(start, granules);
                Step::Resize { block: ids[&start], granules }
            }
        });
        steps.collect()
    }
}

/// Where the block starts that `after` has and `before` lacks.
fn new_block(before: &impl Simulated, after: &impl Simulated) -> u64 {
    let old = before.blocks();
    let is_new = |block: &Used| old.iter().all(|old| old.start != block.start);
    after.blocks().into_iter().find(is_new).map_or(0, |block| block.start)
}

/// Places a program's blocks one after the other in a pool of `end` granules, without an end if
/// there is none: for tests that compare `rule` with a real heap. The start of every block when it
/// was allocated or resized; `None` where that failed. What is done to a block that was never there
/// is nothing.
pub fn placements(
    rule: Rule,
    end: Option<u64>,
    demands: &[Demand],
    steps: &[Step],
) -> Vec<Option<u64>> {
    match rule {
        Rule::Evenfit(_) => placements_of::<WithRest>(rule, end, demands, steps),
        _ => placements_of::<Space>(rule, end, demands, steps),
    }
}

fn placements_of<S: Simulated>(
    rule: Rule,
    end: Option<u64>,
    demands: &[Demand],
    steps: &[Step],
) -> Vec<Option<u64>> {
    let mut space = S::new(rule, end);
    let mut starts: Vec<Option<u64>> = Vec::new();
    let mut out = Vec::new();
    for step in steps {
        match *step {
            Step::Alloc { demand, granules } => {
                let before = space.clone();
                let served = space.take(demand as u8 + 1, granules, demands[demand].slack);
                starts.push(served.then(|| new_block(&before, &space)));
                out.push(starts[starts.len() - 1]);
            }
            Step::Free { block } => {
                if let Some(start) = starts[block] {
                    space.give_back(start);
                }
            }
            Step::Resize { block, granules } => {
                let at = starts[block].filter(|&start| space.resize(start, granules));
                out.push(at);
            }
        }
    }
    out
}
