//! Repeatable chance: splitmix64, with named streams.
//!
//! A stream depends only on the seed and its name, not on what was drawn elsewhere, so that a fault that is switched off
//! does not change what clients do.

/// A source of chance.
#[derive(Clone, Debug)]
pub struct Rng {
    origin: u64,
    state: u64,
}

impl Rng {
    /// From a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { origin: seed, state: mix(seed ^ 0x6a09_e667_f3bc_c908) }
    }

    /// The stream of this name. Not changed by what has been drawn from `self`.
    #[must_use]
    pub fn stream(&self, name: &str) -> Self {
        // FNV-1a: any hash that does not change from build to build will do.
        let hash = name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        Self::new(mix(self.origin.wrapping_add(mix(hash))))
    }

    /// The stream of this number.
    #[must_use]
    pub fn numbered(&self, number: u64) -> Self {
        Self::new(mix(self.origin.rotate_left(17) ^ mix(number.wrapping_add(1))))
    }

    /// The next 64 bits.
    pub fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state)
    }

    /// The next 128 bits.
    pub fn next_u128(&mut self) -> u128 {
        u128::from(self.draw()) << 64 | u128::from(self.draw())
    }

    /// A number below `end`; 0 if `end` is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        // The high half of a product: unbiased enough, and no division.
        u64::try_from((u128::from(self.draw()) * u128::from(end)) >> 64).unwrap_or(0)
    }

    /// A number from `from` to `to`, both included.
    pub fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to.saturating_sub(from).saturating_add(1))
    }

    /// A place in a list of `length`.
    pub fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap_or(0)
    }

    /// One of them; none of none.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        let at = self.index(from.len());
        from.get(at)
    }

    /// True so many times in a million.
    pub fn millionth(&mut self, times: u64) -> bool {
        self.below(1_000_000) < times
    }

    /// True so many times in a hundred.
    pub fn percent(&mut self, times: u64) -> bool {
        self.below(100) < times
    }

    /// Fisher–Yates.
    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for end in (1..list.len()).rev() {
            let at = self.index(end + 1);
            list.swap(end, at);
        }
    }
}

/// The finalizer of splitmix64.
#[must_use]
pub const fn mix(value: u64) -> u64 {
    let mut mixed = value;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_does_not_depend_on_what_was_drawn_elsewhere() {
        let mut drawn = Rng::new(7);
        drawn.draw();
        let (mut one, mut other) = (Rng::new(7).stream("disk"), drawn.stream("disk"));
        assert_eq!((one.draw(), one.draw()), (other.draw(), other.draw()));
        assert_ne!(Rng::new(7).stream("disk").draw(), Rng::new(7).stream("network").draw());
        assert_ne!(Rng::new(7).numbered(0).draw(), Rng::new(7).numbered(1).draw());
        assert_ne!(Rng::new(7).stream("disk").draw(), Rng::new(8).stream("disk").draw());
    }

    #[test]
    fn bounds_are_kept_and_reached() {
        let mut rng = Rng::new(3);
        let drawn: Vec<u64> = (0..1000).map(|_| rng.between(5, 7)).collect();
        for value in 5..=7 {
            assert!(drawn.contains(&value));
        }
        assert!(drawn.iter().all(|value| (5..=7).contains(value)));
        assert_eq!(rng.below(0), 0);
    }

    #[test]
    fn shuffling_loses_nothing() {
        let mut list: Vec<u32> = (0..20).collect();
        Rng::new(1).shuffle(&mut list);
        assert_ne!(list, (0..20).collect::<Vec<_>>());
        list.sort_unstable();
        assert_eq!(list, (0..20).collect::<Vec<_>>());
    }
}
