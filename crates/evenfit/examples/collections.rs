//! `Vec` and `HashMap` inside a pool, and a budget that keeps a plugin within its share.
//!
//!     cargo run -p evenfit --features allocator-api2 --example collections

use allocator_api2::vec::Vec;
use evenfit::StaticHeap;
use hashbrown::HashMap;

static HEAP: StaticHeap<{ 1024 * 1024 }> = StaticHeap::new();

fn main() {
    let mut squares = HashMap::new_in(&HEAP);
    let mut order = Vec::new_in(&HEAP);
    for number in 0..1_000_u64 {
        squares.insert(number, number * number);
        order.push(number);
    }
    println!("31 squared is {}", squares[&31]);
    println!("{} numbers in {} bytes of the pool", order.len(), HEAP.stats().used_bytes);

    let plugin = HEAP.budget("plugin", 64 * 1024);
    let mut log = Vec::new_in(&plugin);
    while log.try_reserve(1).is_ok() {
        log.push(log.len());
    }
    let stats = plugin.stats();
    println!(
        "the {} was stopped after {} entries, at {} of {} bytes",
        stats.name,
        log.len(),
        stats.used_bytes,
        stats.limit_bytes
    );
    assert!(HEAP.largest_free() > 512 * 1024, "the rest of the pool is untouched");
}
