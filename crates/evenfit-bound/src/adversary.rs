//! Programs that keep a contract and need as much of the pool as one can make them need.
//!
//! An adversary sees where the heap puts its blocks, and frees the ones that hurt most. What it
//! gives is a plain sequence of steps: replayed in a heap of the same granule, it reaches the same
//! places.

use rand_xoshiro::SplitMix64;
use rand_xoshiro::rand_core::{Rng as _, SeedableRng as _};

use crate::exhaustive::Step;
use crate::geometry::Cut;
use crate::policy::{Evenfit, Handle, Placement};
use crate::safe::Demand;

/// A program and the pool that it needs.
#[derive(Clone, Debug)]
pub struct Witness {
    /// What it does.
    pub steps: Vec<Step>,
    /// The shortest pool such that it is served from it and from every longer one.
    pub granules: u64,
    /// How it goes about it.
    pub method: &'static str,
}

/// Most blocks that an adversary plays with.
const BLOCKS_MAX: u64 = 1000;
/// Most blocks live at once, some 120 bytes each: more would only repeat what is seen with these.
const LIVE_MAX: usize = 100_000;
/// Most blocks in a row whose holes are moved up: that program grows with the square.
const ROW_MAX: u64 = 500;
/// Steps of one random program.
const RANDOM_STEPS: usize = 4000;
const RANDOM_PROGRAMS: u64 = 24;

/// The worst program found for the contract's demands. Deterministic.
pub fn worst(cut: Cut, demands: &[Demand]) -> Witness {
    let mut worst = all_at_once(cut, demands);
    let mut consider = |game: Game, method| {
        let witness = game.witness(method);
        if witness.granules > worst.granules {
            worst = witness;
        }
    };
    consider(holes_moved_up(cut, demands), "holes moved up one by one between the largest blocks");
    for pin in 0..demands.len() {
        consider(
            pinned_holes(cut, demands, pin),
            "each hole pinned by a small block as it appears",
        );
    }
    for seed in 0..RANDOM_PROGRAMS {
        consider(random(cut, demands, seed), "random, the largest gaps spared");
    }
    worst
}

/// Every block, the smallest first: what no contract can do without.
fn all_at_once(cut: Cut, demands: &[Demand]) -> Witness {
    let mut game = Game::new(cut, demands);
    let mut order: Vec<usize> = (0..demands.len()).collect();
    order.sort_by_key(|&at| demands[at].max);
    for demand in order {
        for _ in 0..demands[demand].most_live.min(BLOCKS_MAX) {
            game.allocate(demand, demands[demand].max);
        }
    }
    game.witness("every block at once")
}

/// A live block of a game.
#[derive(Clone, Copy)]
struct Live {
    id: usize,
    demand: usize,
    handle: Handle,
}

/// A program being made, and the pool it acts on.
struct Game<'a> {
    demands: &'a [Demand],
    cut: Cut,
    space: Evenfit,
    live: Vec<Live>,
    count: Vec<u64>,
    steps: Vec<Step>,
    allocations: usize,
    reach: u64,
    /// Steps that led to the reach.
    useful: usize,
}

impl<'a> Game<'a> {
    fn new(cut: Cut, demands: &'a [Demand]) -> Self {
        Self {
            demands,
            cut,
            space: Evenfit::new(cut, 1 << 62),
            live: Vec::new(),
            count: vec![0; demands.len()],
            steps: Vec::new(),
            allocations: 0,
            reach: 0,
            useful: 0,
        }
    }

    fn may(&self, demand: usize) -> bool {
        self.live.len() < LIVE_MAX && self.count[demand] < self.demands[demand].most_live
    }

    /// Allocates if the contract allows it; the block's place in `live`.
    fn allocate(&mut self, demand: usize, granules: u64) -> Option<usize> {
        let granules = granules.next_multiple_of(self.cut.align_granules);
        let align = Cut::align_of(self.demands[demand].slack);
        let handle = self.may(demand).then(|| self.space.allocate(granules, align)).flatten()?;
        self.steps.push(Step::Alloc { demand, granules });
        self.count[demand] += 1;
        self.live.push(Live { id: self.allocations, demand, handle });
        self.allocations += 1;
        let (start, len) = self.space.extent(handle);
        if start + len > self.reach {
            self.reach = start + len;
            self.useful = self.steps.len();
        }
        Some(self.live.len() - 1)
    }

    fn free(&mut self, at: usize) {
        let Live { id, demand, handle } = self.live.remove(at);
        self.steps.push(Step::Free { block: id });
        self.count[demand] -= 1;
        self.space.free(handle);
    }

    fn free_block(&mut self, id: usize) {
        if let Some(at) = self.live.iter().position(|live| live.id == id) {
            self.free(at);
        }
    }

    fn start(&self, at: usize) -> u64 {
        self.space.extent(self.live[at].handle).0
    }

    fn witness(mut self, method: &'static str) -> Witness {
        self.steps.truncate(self.useful);
        // In a pool of this length, none of its requests finds the top too short.
        let slack = self.demands.iter().map(|demand| demand.slack).max();
        let mut granules =
            self.reach + slack.unwrap_or(0).next_multiple_of(self.cut.align_granules);
        while granules > 0 && self.is_served(granules - self.cut.align_granules) {
            granules -= self.cut.align_granules;
        }
        Witness { steps: self.steps, granules, method }
    }

    /// Whether a pool of `granules` granules serves the program.
    fn is_served(&self, granules: u64) -> bool {
        let mut space = Evenfit::new(self.cut, granules);
        let mut handles: Vec<Handle> = Vec::new();
        self.steps.iter().all(|step| match *step {
            Step::Alloc { demand, granules } => {
                let align = Cut::align_of(self.demands[demand].slack);
                let found = space.allocate(granules, align);
                handles.extend(found);
                found.is_some()
            }
            Step::Free { block } => {
                space.free(handles[block]);
                true
            }
            Step::Resize { block, granules } => space.resize(handles[block], granules),
        })
    }
}

/// For demands whose blocks may have many sizes: the worst there is, as the exhaustive search
/// shows.
///
/// Begins with blocks just shorter than the largest, in a row: the holes to come. Each in turn is
/// freed, from the last to the first, and a largest block, which doesn't fit, goes to the end of
/// the row. Then every largest block is moved down into the joined space before it, which carries
/// the hole up between the last two.
fn holes_moved_up<'a>(cut: Cut, demands: &'a [Demand]) -> Game<'a> {
    let mut game = Game::new(cut, demands);
    // The size at which a bin begins, so that a hole one shorter is never taken.
    let large = |demand: &Demand| cut.smallest(cut.bin(demand.max)).max(demand.min);
    let Some(top) = (0..demands.len()).max_by_key(|&at| large(&demands[at])) else {
        return game;
    };
    let size = large(&demands[top]);
    let movers: Vec<usize> = (0..demands.len())
        .filter(|&at| demands[at].min < size && size <= demands[at].max && demands[at].slack == 0)
        .collect();
    let pick = |game: &Game| movers.iter().copied().find(|&at| game.may(at));
    let blocks: u64 = movers.iter().map(|&at| demands[at].most_live).sum::<u64>().min(ROW_MAX);
    let hole = size.saturating_sub(cut.align_granules);
    if hole < Cut::BLOCK_MIN || blocks < 3 {
        return game;
    }
    let mut holes = Vec::new();
    let mut row = Vec::new();
    for _ in 0..blocks - 1 {
        let Some(demand) = pick(&game) else {
            return game;
        };
        let Some(at) = game.allocate(demand, hole) else {
            return game;
        };
        holes.push(game.live[at].id);
    }
    while let Some(demand) = pick(&game) {
        let Some(at) = game.allocate(demand, size) else {
            return game;
        };
        row.push(game.live[at].id);
        // Carry the gap before the first of the row up to the end, one largest block at a time.
        for place in (0..row.len() - 1).rev() {
            game.free_block(row[place]);
            let Some(at) = pick(&game).and_then(|demand| game.allocate(demand, size)) else {
                return game;
            };
            row[place] = game.live[at].id;
        }
        match holes.pop() {
            Some(hole) => game.free_block(hole),
            None => break,
        }
    }
    game
}

/// For demands of few sizes: two of the largest blocks leapfrog; into each hole they leave goes a
/// block of `pin`.
fn pinned_holes<'a>(cut: Cut, demands: &'a [Demand], pin: usize) -> Game<'a> {
    let mut game = Game::new(cut, demands);
    let Some(top) = (0..demands.len()).max_by_key(|&at| demands[at].max + demands[at].slack) else {
        return game;
    };
    let largest = demands[top].max;
    let rounds = demands[pin].most_live.min(BLOCKS_MAX);
    for _ in 0..rounds {
        while game.allocate(top, largest).is_some() {}
        // The lowest largest block goes; the pin takes its place if the heap lets it.
        let lowest = (0..game.live.len())
            .filter(|&at| game.live[at].demand == top)
            .min_by_key(|&at| game.start(at));
        let Some(lowest) = lowest else { break };
        game.free(lowest);
        if pin == top || game.allocate(pin, demands[pin].min).is_none() {
            break;
        }
    }
    while game.allocate(top, largest).is_some() {}
    game
}

/// Allocates the largest, now and then something else, and frees what lies beside no gap.
fn random<'a>(cut: Cut, demands: &'a [Demand], seed: u64) -> Game<'a> {
    let mut game = Game::new(cut, demands);
    let mut random = SplitMix64::seed_from_u64(seed);
    let mut below = |end: u64| random.next_u64() % end;
    for _ in 0..RANDOM_STEPS {
        let open: Vec<usize> = (0..demands.len()).filter(|&at| game.may(at)).collect();
        let crowded = game.live.len() as u64 >= BLOCKS_MAX;
        let frees = open.is_empty() || crowded || !game.live.is_empty() && below(3) == 0;
        if frees {
            let at = below(game.live.len() as u64) as usize;
            game.free(at);
        } else {
            let demand = open[below(open.len() as u64) as usize];
            let Demand { min, max, .. } = demands[demand];
            let granules = match below(3) {
                0 => min + below(max - min + 1),
                1 => min,
                _ => max,
            };
            game.allocate(demand, granules);
        }
    }
    game
}
