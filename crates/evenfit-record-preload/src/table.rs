//! Small numbers for large ones, without memory of one's own.

/// Numbers keys from 1 in the order in which they come. `N` is a power of two.
pub(crate) struct Table<const N: usize> {
    keys: [u64; N],
    numbers: [u32; N],
    count: u32,
}

impl<const N: usize> Table<N> {
    pub(crate) const fn new() -> Self {
        assert!(N.is_power_of_two());
        Self {
            keys: [0; N],
            numbers: [0; N],
            count: 0,
        }
    }

    /// The key's number, a new one if need be; 0 for the key 0, and once three quarters of the places are taken.
    pub(crate) fn number(&mut self, key: u64) -> u32 {
        if key == 0 {
            return 0;
        }
        let mut at = (key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as usize % N;
        // A quarter of the places stays free, so every search ends.
        while self.keys[at] != key {
            if self.keys[at] == 0 {
                if self.count as usize >= N / 4 * 3 {
                    return 0;
                }
                self.count += 1;
                self.keys[at] = key;
                self.numbers[at] = self.count;
                break;
            }
            at = (at + 1) % N;
        }
        self.numbers[at]
    }

    /// The key and number of each place that is taken, one call a place.
    pub(crate) fn entry(&self, at: usize) -> Option<(u64, u32)> {
        let key = *self.keys.get(at)?;
        (key != 0).then(|| (key, self.numbers[at]))
    }
}
