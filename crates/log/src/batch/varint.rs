//! Zigzag varints, as in Kafka's records.

/// Appends `value`.
pub(crate) fn put(out: &mut Vec<u8>, value: i64) {
    let mut bits = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while bits >= 0x80 {
        out.push((bits & 0x7f) as u8 | 0x80);
        bits >>= 7;
    }
    out.push(bits as u8);
}

/// How many bytes `value` takes.
pub(crate) fn length(value: i64) -> usize {
    let bits = ((value << 1) ^ (value >> 63)).cast_unsigned();
    let used = 64 - (bits | 1).leading_zeros() as usize;
    used.div_ceil(7)
}

/// Reads a number from the front: its value and how many bytes it took. `None` where the bytes end
/// too soon or the number goes on past 64 bits.
pub(crate) fn get(bytes: &[u8]) -> Option<(i64, usize)> {
    let mut bits = 0_u64;
    for (index, byte) in bytes.iter().take(10).enumerate() {
        let part = u64::from(byte & 0x7f);
        if index == 9 && part > 1 {
            return None;
        }
        bits |= part << (7 * index);
        if byte & 0x80 == 0 {
            let value = (bits >> 1).cast_signed() ^ -((bits & 1).cast_signed());
            return Some((value, index + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_and_take_the_length_that_was_told() {
        for value in [0, 1, -1, 63, -64, 64, 300, -300, i64::from(i32::MAX), i64::MAX, i64::MIN] {
            let mut out = Vec::new();
            put(&mut out, value);
            assert_eq!(out.len(), length(value), "{value}");
            assert_eq!(get(&out), Some((value, out.len())));
            assert_eq!(get(&out[..out.len() - 1]), None);
        }
    }

    #[test]
    fn a_number_without_an_end_is_refused() {
        assert_eq!(get(&[0xff; 20]), None);
    }
}
