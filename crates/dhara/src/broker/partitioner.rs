//! Which partition a message goes to.

use std::sync::atomic::{AtomicU32, Ordering};

/// Kafka's murmur2 (32 bits, seed 0x9747b28c), as its Java client computes it.
pub fn murmur2(bytes: &[u8]) -> i32 {
    const M: u32 = 0x5bd1_e995;
    const SEED: u32 = 0x9747_b28c;
    // Kafka hashes `int` lengths; the low 32 bits are what it uses.
    let mut hash = SEED ^ (bytes.len() as u32);
    let (words, tail) = bytes.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !tail.is_empty() {
        for (place, byte) in tail.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * place);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^= hash >> 15;
    hash.cast_signed()
}

/// The partition of `key` among `partitions`: murmur2 with the sign bit cleared, as Kafka's clients
/// in every language take it, so that one key lands in one partition from wherever it comes.
pub fn partition_of(key: &[u8], partitions: u32) -> u32 {
    (murmur2(key).cast_unsigned() & 0x7fff_ffff) % partitions.max(1)
}

/// Spreads messages without a key: all that are published together go to one partition, so that
/// they share its batch, and the next publish goes to the next partition.
#[derive(Debug, Default)]
pub(crate) struct Turns(AtomicU32);

impl Turns {
    /// The partition, of `partitions`, for the messages without a key of one publish.
    pub(crate) fn next(&self, partitions: u32) -> u32 {
        self.0.fetch_add(1, Ordering::Relaxed) % partitions.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the tests of Kafka's own `Utils.murmur2`.
    const KNOWN: [(&str, i32); 6] = [
        ("21", -973_932_308),
        ("foobar", -790_332_482),
        ("a-little-bit-long-string", -985_981_536),
        ("a-little-bit-longer-string", -1_486_304_829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
        ("abc", 479_470_107),
    ];

    #[test]
    fn murmur2_agrees_with_kafka() {
        for (text, hash) in KNOWN {
            assert_eq!(murmur2(text.as_bytes()), hash, "{text}");
        }
    }

    #[test]
    fn an_empty_key_is_a_key() {
        assert_eq!(partition_of(b"", 8), partition_of(b"", 8));
        assert_eq!(partition_of(b"", 1), 0);
    }

    #[test]
    fn keys_spread_over_all_partitions() {
        let mut seen = [0_u32; 8];
        for key in 0..8_000_u32 {
            seen[partition_of(format!("order-{key}").as_bytes(), 8) as usize] += 1;
        }
        assert!(seen.iter().all(|count| (800..1_200).contains(count)), "{seen:?}");
    }

    #[test]
    fn turns_go_round() {
        let turns = Turns::default();
        let given: Vec<u32> = (0..6).map(|_| turns.next(3)).collect();
        assert_eq!(given, [0, 1, 2, 0, 1, 2]);
    }
}
