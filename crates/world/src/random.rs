//! Randomness that a seed can reproduce.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};

/// A source of pseudo-random numbers, shared by all that hold it.
///
/// The generator is SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): one atomic addition and a mix,
/// so that any task may draw from it without a lock. It is not fit for secrets.
#[derive(Debug)]
pub struct Random {
    state: AtomicU64,
}

const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

impl Random {
    /// Numbers that follow from `seed` alone.
    pub const fn from_seed(seed: u64) -> Self {
        Self { state: AtomicU64::new(seed) }
    }

    /// Numbers that differ from run to run.
    pub fn from_entropy() -> Self {
        // The standard library seeds each `RandomState` from the system's entropy.
        Self::from_seed(RandomState::new().build_hasher().finish())
    }

    /// A second source, which follows from this one and shares nothing with it afterwards.
    pub fn fork(&self) -> Self {
        Self::from_seed(self.next_u64())
    }

    /// The next 64 random bits.
    pub fn next_u64(&self) -> u64 {
        let state = self.state.fetch_add(GAMMA, Ordering::Relaxed).wrapping_add(GAMMA);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number in `0..bound`; zero where `bound` is zero.
    ///
    /// The bias of the multiplication is below `bound / 2^64`.
    pub fn below(&self, bound: u64) -> u64 {
        let wide = u128::from(self.next_u64()) * u128::from(bound);
        u64::try_from(wide >> 64).unwrap_or(0)
    }

    /// A number in `[0, 1)`.
    pub fn unit(&self) -> f64 {
        // 53 bits are what the mantissa of an f64 holds.
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }
}
