//! Numbers threads, in a table of fixed size.

const THREADS: usize = 1 << 10;

/// Numbers threads from 0 in the order in which they come.
pub(super) struct Threads {
    /// Thread and number.
    places: [(usize, u32); THREADS],
    count: u32,
}

impl Threads {
    pub(super) const fn new() -> Self {
        Self { places: [(0, 0); THREADS], count: 0 }
    }

    /// The thread's number; 0 for all that come once three quarters of the places are taken.
    pub(super) fn number(&mut self, thread: usize) -> u32 {
        let mut at = super::sites::first(thread);
        // A quarter of the places stays free, so every search ends.
        loop {
            let place = &mut self.places[at % THREADS];
            if place.0 == thread {
                return place.1;
            }
            if place.0 == 0 {
                if self.count as usize >= THREADS / 4 * 3 {
                    return 0;
                }
                *place = (thread, self.count);
                self.count += 1;
                return place.1;
            }
            at += 1;
        }
    }
}
