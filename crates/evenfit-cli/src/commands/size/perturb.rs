//! The same program, slightly different: larger blocks, longer lives.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use evenfit_trace::Event;
use rand_xoshiro::SplitMix64;
use rand_xoshiro::rand_core::{Rng as _, SeedableRng as _};

/// A tenth more.
fn tenth_more(size: u64) -> u64 {
    size + size.div_ceil(10)
}

/// Every size a tenth larger.
pub(super) fn all_larger(events: &[Event]) -> Vec<Event> {
    resized(events, tenth_more)
}

/// Every size larger by up to a fifth, a tenth on average.
pub(super) fn some_larger(events: &[Event], seed: u64) -> Vec<Event> {
    let mut random = SplitMix64::seed_from_u64(seed);
    resized(events, |size| size + random.next_u64() % (size / 5 + 1))
}

fn resized(events: &[Event], mut size_of: impl FnMut(u64) -> u64) -> Vec<Event> {
    let changed = events.iter().map(|&event| match event {
        Event::Alloc { id, size, align_log2, zeroed } => {
            Event::Alloc { id, size: size_of(size), align_log2, zeroed }
        }
        Event::Realloc { id, new_size } => Event::Realloc { id, new_size: size_of(new_size) },
        free => free,
    });
    changed.collect()
}

/// Every block lives longer: by up to a tenth of its life, or 16 operations.
pub(super) fn longer_lives(events: &[Event], allocations: usize, seed: u64) -> Vec<Event> {
    let mut random = SplitMix64::seed_from_u64(seed);
    let mut born = vec![0u32; allocations];
    let mut due: BinaryHeap<Reverse<(u64, u32)>> = BinaryHeap::new();
    let mut out = Vec::with_capacity(events.len());
    for (now, &event) in events.iter().enumerate() {
        let now = now as u64;
        while let Some(&Reverse((when, id))) = due.peek().filter(|Reverse((when, _))| *when <= now)
        {
            debug_assert!(when <= now);
            due.pop();
            out.push(Event::Free { id });
        }
        match event {
            Event::Free { id } => {
                let lived = now - u64::from(born[id as usize]);
                due.push(Reverse((now + random.next_u64() % ((lived / 10).max(16) + 1), id)));
            }
            Event::Alloc { id, .. } => {
                born[id as usize] = now as u32;
                out.push(event);
            }
            Event::Realloc { .. } => out.push(event),
        }
    }
    while let Some(Reverse((_, id))) = due.pop() {
        out.push(Event::Free { id });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::alloc;
    use super::*;

    #[test]
    fn sizes_grow_by_a_tenth() {
        let events = [alloc(0, 100), Event::Realloc { id: 0, new_size: 5 }, Event::Free { id: 0 }];
        let larger = all_larger(&events);
        assert_eq!(
            larger,
            [alloc(0, 110), Event::Realloc { id: 0, new_size: 6 }, Event::Free { id: 0 }]
        );
        for seed in 0..20 {
            let Event::Alloc { size, .. } = some_larger(&events, seed)[0] else { panic!() };
            assert!((100..=120).contains(&size));
        }
    }

    #[test]
    fn lives_grow_and_every_block_still_dies_once_after_its_birth() {
        let mut events = Vec::new();
        for id in 0..2000 {
            events.push(alloc(id, 8));
            if id >= 50 {
                events.push(Event::Free { id: id - 50 });
            }
        }
        let longer = longer_lives(&events, 2000, 3);
        assert_eq!(longer.len(), events.len());
        assert_ne!(longer, events);
        let mut live = vec![false; 2000];
        for event in longer {
            let id = event.id() as usize;
            let is_birth = matches!(event, Event::Alloc { .. });
            assert_eq!(live[id], !is_birth);
            live[id] = is_birth;
        }
    }
}
