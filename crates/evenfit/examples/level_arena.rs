//! A game's levels: one pool, emptied at once when a level ends. No object is freed one by one.
//!
//!     cargo run -p evenfit --example level_arena

use std::alloc::Layout;
use std::mem::MaybeUninit;
use std::ptr::NonNull;

use evenfit::{AllocError, Heap};

/// A monster, linked to the one spawned before it.
struct Monster {
    health: u32,
    next: Option<NonNull<Monster>>,
}

/// Spawns the monsters of a level; the list lives as long as the level.
fn spawn(level: &mut Heap<'_>, count: u32) -> Result<Option<NonNull<Monster>>, AllocError> {
    let mut list = None;
    for number in 0..count {
        let monster = level.allocate(Layout::new::<Monster>())?.cast::<Monster>();
        let health = 10 + number % 7;
        // SAFETY: the block is new, and large and aligned enough for a Monster.
        unsafe { monster.write(Monster { health, next: list }) };
        list = Some(monster);
    }
    Ok(list)
}

fn total_health(mut list: Option<NonNull<Monster>>) -> u32 {
    let mut total = 0;
    while let Some(monster) = list {
        // SAFETY: written by `spawn`, and the level has not ended.
        let monster = unsafe { monster.as_ref() };
        total += monster.health;
        list = monster.next;
    }
    total
}

fn main() {
    let mut memory = vec![MaybeUninit::uninit(); 1 << 20];
    let mut level = Heap::from_region(&mut memory).expect("1 MiB holds a pool");
    for number in 1..=5 {
        let monsters = spawn(&mut level, number * 2_000).expect("a level fits in the pool");
        let stats = level.stats();
        println!(
            "level {number}: health {} in {} blocks, {} of {} bytes",
            total_health(monsters),
            stats.live_blocks,
            stats.used_bytes,
            stats.pool_bytes
        );
        level.reset();
        assert_eq!(level.stats().free_bytes, stats.pool_bytes, "all of it is free again");
    }
}
