//! The last offset of each key, in as little memory as it takes, and never in more than was agreed.
//!
//! A key stands in the map by its hash of 128 bits, and two keys with one hash would be one key: a
//! compaction would drop the older of two different ones. The hash is therefore SipHash-2-4 of 128
//! bits under a secret of the log: among 10⁹ keys the chance of any collision is below 2⁻⁶⁹, and
//! whoever chooses keys, as the users of a service often do, cannot compute one without the secret.
//! (With a hash that is only fast, a key that erases somebody else's is a matter of algebra.)

use std::fmt;

use siphasher::sip128::SipHasher24;

use crate::{LogError, RecordBatch};

/// The map is cut by the first bits of the hash, so that growing copies a small part at a time.
const PARTS: usize = 16;
const SLOT_BYTES: usize = size_of::<Slot>();
/// The slots that a part begins with.
const FIRST_SLOTS: usize = 10;

/// The hash by which `key` stands in a [`KeyOffsets`]. `seed` must be the same for all keys of a
/// map. Who must not be able to make keys collide must not know it.
pub(crate) fn hash_key(seed: u64, key: &[u8]) -> u128 {
    // The other half of SipHash's key keeps these hashes apart from whatever else a seed is used
    // for.
    const PURPOSE: u64 = u64::from_be_bytes(*b"last key");
    SipHasher24::new_with_keys(seed, PURPOSE).hash(key).into()
}

/// A batch whose records take more than this is not looked into for its keys.
const MOST_DECOMPRESSED: usize = 64 << 20;

/// Notes the keys of a batch; `shift` is what its records' offsets will have been moved by.
pub(crate) fn insert_keys(
    keys: &mut KeyOffsets,
    seed: u64,
    batch: &RecordBatch,
    shift: u64,
) -> Result<(), LogError> {
    for record in batch.records_within(MOST_DECOMPRESSED)? {
        let record = record?;
        if let Some(key) = &record.key {
            keys.insert(hash_key(seed, key), record.offset.wrapping_add(shift))?;
        }
    }
    Ok(())
}

/// The last offset of each key, by [`hash_key`]. It takes no memory while it is empty, then 24 bytes
/// for each slot, of which at most four fifths are full.
#[derive(Debug, Default)]
pub(crate) struct KeyOffsets {
    parts: Vec<Part>,
    slots: usize,
    keys: usize,
    most: usize,
}

/// A key did not fit into the bytes that a [`KeyOffsets`] may take. It holds what it held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeysFull {
    keys: usize,
    most: usize,
}

/// An open-addressed table with linear probing.
#[derive(Clone, Debug, Default)]
struct Part {
    slots: Vec<Slot>,
    keys: usize,
}

/// A key's hash in halves, and the offset after its last one: 0 where the slot is free. The hash as
/// a `u128` would pad the slot to 32 bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    high: u64,
    low: u64,
    next: u64,
}

impl KeyOffsets {
    /// An empty map that takes at most `most` bytes, also while it grows.
    pub(crate) fn new(most: usize) -> Self {
        Self { most, ..Self::default() }
    }

    /// Notes that `key` stands at `offset`. Of several offsets the greatest stays, so that noting
    /// some again, in any order, changes nothing.
    pub(crate) fn insert(&mut self, key: u128, offset: u64) -> Result<(), KeysFull> {
        // The last offset of all has no successor and is no record's.
        let wanted = Slot::new(key, offset.saturating_add(1));
        if let Some(part) = self.parts.get_mut(part_of(key)) {
            match part.find(key) {
                Ok(at) => {
                    part.raise(at, wanted.next);
                    return Ok(());
                }
                Err(free) if part.has_room() => {
                    part.fill(free, wanted);
                    self.keys += 1;
                    return Ok(());
                }
                Err(_) => {}
            }
        }
        self.grow(part_of(key))?;
        if let Some(part) = self.parts.get_mut(part_of(key)) {
            part.put(wanted);
            self.keys += 1;
        }
        Ok(())
    }

    /// The greatest offset that was noted for `key`.
    pub(crate) fn get(&self, key: u128) -> Option<u64> {
        let part = self.parts.get(part_of(key))?;
        let found = part.slots.get(part.find(key).ok()?)?;
        found.next.checked_sub(1)
    }

    #[cfg(test)]
    /// Forgets every key for which `keep` does not hold; it is given the hash and the offset. The
    /// memory stays taken.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(u128, u64) -> bool) {
        self.keys = 0;
        for part in &mut self.parts {
            part.retain(&mut keep);
            self.keys = self.keys.saturating_add(part.keys);
        }
    }

    #[cfg(test)]
    /// How many keys it holds.
    pub(crate) fn len(&self) -> usize {
        self.keys
    }

    #[cfg(test)]
    /// How many bytes it takes.
    pub(crate) fn byte_len(&self) -> usize {
        self.parts.capacity() * size_of::<Part>() + self.slots * SLOT_BYTES
    }

    /// Gives the part at `index` half as many slots again, or what the bound leaves to it.
    fn grow(&mut self, index: usize) -> Result<(), KeysFull> {
        let full = KeysFull { keys: self.keys, most: self.most };
        let list = PARTS * size_of::<Part>();
        // While a part grows, its old slots and its new ones exist side by side.
        let share = self.most.saturating_sub(list) / SLOT_BYTES / (PARTS + 1);
        if share < FIRST_SLOTS {
            return Err(full);
        }
        if self.parts.is_empty() {
            self.parts = vec![Part::default(); PARTS];
        }
        let Some(part) = self.parts.get_mut(index) else { return Ok(()) };
        let have = part.slots.len();
        let wanted = (have + have / 2).clamp(FIRST_SLOTS, share);
        if wanted == have {
            return Err(full);
        }
        part.grow(wanted);
        self.slots = self.slots - have + wanted;
        if part.has_room() { Ok(()) } else { Err(full) }
    }
}

impl Part {
    /// Whether a key more leaves a fifth of the slots free, so that searches stay short, and end.
    fn has_room(&self) -> bool {
        self.keys < self.slots.len() / 5 * 4
    }

    /// Where `key` stands, or else the free slot in which it would.
    fn find(&self, key: u128) -> Result<usize, usize> {
        let mut at = self.home(key);
        while let Some(slot) = self.slots.get(at).filter(|slot| slot.next != 0) {
            if slot.key() == key {
                return Ok(at);
            }
            at = self.after(at);
        }
        Err(at)
    }

    fn raise(&mut self, at: usize, next: u64) {
        if let Some(slot) = self.slots.get_mut(at) {
            slot.next = slot.next.max(next);
        }
    }

    fn fill(&mut self, free: usize, wanted: Slot) {
        if let Some(slot) = self.slots.get_mut(free) {
            *slot = wanted;
            self.keys += 1;
        }
    }

    /// Puts in a key that is not there.
    fn put(&mut self, wanted: Slot) {
        let (Ok(free) | Err(free)) = self.find(wanted.key());
        self.fill(free, wanted);
    }

    fn grow(&mut self, slots: usize) {
        let old = std::mem::replace(&mut self.slots, vec![Slot::default(); slots]);
        self.keys = 0;
        for slot in old.into_iter().filter(|slot| slot.next != 0) {
            self.put(slot);
        }
    }

    #[cfg(test)]
    /// Takes all keys out and puts those that stay in again, beginning behind a free slot: from
    /// there on every key is met before the ones that it pushed farther from their home.
    fn retain(&mut self, keep: &mut impl FnMut(u128, u64) -> bool) {
        let Some(free) = self.slots.iter().position(|slot| slot.next == 0) else { return };
        self.keys = 0;
        let mut at = free;
        for _ in 0..self.slots.len() {
            at = self.after(at);
            let Some(slot) = self.slots.get_mut(at) else { return };
            let taken = std::mem::take(slot);
            if taken.next != 0 && keep(taken.key(), taken.next - 1) {
                self.put(taken);
            }
        }
    }

    /// The slot in which a search for `key` begins: the low half of its hash as a fraction of the
    /// slots, so that any number of slots will do.
    fn home(&self, key: u128) -> usize {
        let fraction = u128::from(key as u64) * self.slots.len() as u128;
        (fraction >> 64) as usize
    }

    fn after(&self, at: usize) -> usize {
        if at + 1 < self.slots.len() { at + 1 } else { 0 }
    }
}

impl Slot {
    fn new(key: u128, next: u64) -> Self {
        Self { high: (key >> 64) as u64, low: key as u64, next }
    }

    fn key(&self) -> u128 {
        u128::from(self.high) << 64 | u128::from(self.low)
    }
}

/// The first bits of the high half choose the part.
fn part_of(key: u128) -> usize {
    (key >> (128 - PARTS.ilog2())) as usize
}

impl fmt::Display for KeysFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the last offsets of {} keys fill the {} bytes that they may take; allow more, or go \
             over fewer records at a time",
            self.keys, self.most
        )
    }
}

impl From<KeysFull> for LogError {
    fn from(full: KeysFull) -> Self {
        Self::invalid(full.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    /// Hashes that crowd: a few homes in a few parts, so that keys push one another along.
    fn crowded() -> impl Strategy<Value = u128> {
        (0_u128..3, 0_u128..40).prop_map(|(part, low)| part << 126 | (low << 58) | low)
    }

    #[test]
    fn the_hash_is_that_of_its_authors() {
        // From the reference implementation's vectors: the key 00..0f, and the input 00..0e.
        let (key0, key1) = (0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908);
        let input: Vec<u8> = (0..15).collect();
        let hash: u128 = SipHasher24::new_with_keys(key0, key1).hash(&input).into();
        let expected = [
            0x54, 0x93, 0xe9, 0x99, 0x33, 0xb0, 0xa8, 0x11, 0x7e, 0x08, 0xec, 0x0f, 0x97, 0xcf,
            0xc3, 0xd9,
        ];
        assert_eq!(hash.to_le_bytes(), expected);
    }

    #[test]
    fn seeds_give_hashes_that_have_nothing_in_common() {
        assert_ne!(hash_key(1, b"order_789"), hash_key(2, b"order_789"));
        assert_ne!(hash_key(1, b""), hash_key(1, b"\0"));
        assert_eq!(hash_key(1, b"order_789"), hash_key(1, b"order_789"));
    }

    #[test]
    fn memory_stays_below_the_bound_and_is_used_well() {
        let most = 1 << 20;
        let mut map = KeyOffsets::new(most);
        let mut inserted = 0_u64;
        let full = loop {
            match map.insert(hash_key(7, &inserted.to_le_bytes()), inserted) {
                Ok(()) => inserted += 1,
                Err(full) => break full,
            }
            assert!(map.byte_len() <= most);
        };
        assert!(full.to_string().contains("1048576"), "{full}");
        let key_bytes = most / map.len();
        assert!(key_bytes <= 36, "a key takes {key_bytes} bytes of the bound");
        for offset in 0..inserted {
            assert_eq!(map.get(hash_key(7, &offset.to_le_bytes())), Some(offset));
        }
        assert_eq!(map.get(hash_key(7, &inserted.to_le_bytes())), None);
        map.insert(hash_key(7, &0_u64.to_le_bytes()), 1 << 40).unwrap();
        assert_eq!(map.get(hash_key(7, &0_u64.to_le_bytes())), Some(1 << 40));
    }

    #[test]
    fn an_empty_map_takes_nothing_and_one_without_memory_refuses() {
        let map = KeyOffsets::new(1 << 20);
        assert_eq!((map.byte_len(), map.len(), map.get(5)), (0, 0, None));
        assert!(KeyOffsets::new(0).insert(5, 0).is_err());
        assert!(KeyOffsets::new(PARTS * (size_of::<Part>() + SLOT_BYTES)).insert(5, 0).is_err());
    }

    proptest! {
        #[test]
        fn it_is_a_map_that_keeps_the_greatest(
            noted in prop::collection::vec((crowded(), 0_u64..50, any::<bool>()), 0..400),
            below in 0_u64..50,
        ) {
            let mut map = KeyOffsets::new(1 << 20);
            let mut model = HashMap::new();
            for (index, (key, offset, forget)) in noted.into_iter().enumerate() {
                map.insert(key, offset).unwrap();
                let last = model.entry(key).or_insert(offset);
                *last = offset.max(*last);
                if forget && index % 50 == 0 {
                    map.retain(|_, offset| offset >= below);
                    model.retain(|_, offset| *offset >= below);
                }
                prop_assert_eq!(map.len(), model.len());
            }
            for part in 0_u128..3 {
                for low in 0_u128..40 {
                    let key = part << 126 | (low << 58) | low;
                    prop_assert_eq!(map.get(key), model.get(&key).copied());
                }
            }
        }
    }
}
