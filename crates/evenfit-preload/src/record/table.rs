//! A table of fixed size that assigns numbers to keys, and allocates nothing.

/// Numbers keys from 1 in the order in which they come. `N` is a power of two.
pub(crate) struct Table<const N: usize> {
    places: [Place; N],
    count: u32,
}

#[derive(Clone, Copy)]
struct Place {
    key: u64,
    number: u32,
}

impl<const N: usize> Table<N> {
    pub(crate) const fn new() -> Self {
        assert!(N.is_power_of_two());
        Self { places: [Place { key: 0, number: 0 }; N], count: 0 }
    }

    /// The key's number, a new one if need be; 0 for the key 0, and if three quarters of the
    /// entries are used.
    #[inline(always)]
    pub(crate) fn number(&mut self, key: u64) -> u32 {
        if key == 0 {
            return 0;
        }
        let mut at = Self::first(key);
        // A quarter of the entries stays free, so every search ends.
        loop {
            let place = &mut self.places[at % N];
            if place.key == key {
                return place.number;
            }
            if place.key == 0 {
                return self.insert(at % N, key);
            }
            at += 1;
        }
    }

    /// The index at which the search for a key begins.
    #[inline(always)]
    fn first(key: u64) -> usize {
        (key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as usize
    }

    #[cold]
    #[inline(never)]
    fn insert(&mut self, at: usize, key: u64) -> u32 {
        if self.count as usize >= N / 4 * 3 {
            return 0;
        }
        self.count += 1;
        self.places[at] = Place { key, number: self.count };
        self.count
    }

    /// The key and number of each place that is taken, one call a place.
    pub(crate) fn entry(&self, at: usize) -> Option<(u64, u32)> {
        let Place { key, number } = *self.places.get(at)?;
        (key != 0).then_some((key, number))
    }
}
