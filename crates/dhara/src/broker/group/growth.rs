//! Where the partitions of a topic ended when others were added, and who waits for whom then.

/// How a topic came to have its partitions.
///
/// Each growth divides every partition: what lies below its end at that time was published before, the
/// rest after, and a partition that the growth added holds only what came after. A key that lay in
/// partition `h mod n` of `n` lies in `h mod m` of `m` from then on. So what came after, in partition
/// `q`, may have something before it in each partition that `q` is congruent with modulo the greatest
/// common divisor of `n` and `m`, and in no other: where a topic is given twice its partitions, the old
/// ones wait for none and each new one for a single one.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Growths {
    /// For each growth, where the partitions ended that were there before.
    ends: Vec<Vec<u64>>,
    /// How many partitions there are now.
    count: u32,
}

impl Growths {
    #[cfg_attr(not(feature = "file"), expect(dead_code, reason = "mem: topics never grow"))]
    pub(crate) fn new(ends: Vec<Vec<u64>>, count: u32) -> Self {
        Self { ends, count }
    }

    pub(super) fn is_none(&self) -> bool {
        self.ends.is_empty()
    }

    /// Whether there were more of them than in `other`, of the same topic.
    pub(super) fn is_later_than(&self, other: &Self) -> bool {
        self.ends.len() > other.ends.len()
    }

    /// Whether the topic was made without this partition.
    pub(super) fn added(&self, partition: u32) -> bool {
        self.ends.first().is_some_and(|ends| partition as usize >= ends.len())
    }

    /// How many growths lie before this offset of a partition.
    pub(super) fn phase(&self, partition: u32, offset: u64) -> usize {
        self.ends.iter().take_while(|ends| end_of(ends, partition) <= offset).count()
    }

    /// Where the partition's part ends that lies between the growth before `phase` and the one after.
    pub(super) fn limit(&self, partition: u32, phase: usize) -> u64 {
        self.ends.get(phase).map_or(u64::MAX, |ends| end_of(ends, partition))
    }

    /// A partition that must have come to an offset before anything of `phase` in `partition` is
    /// begun, and has not; `position` tells how far each has come.
    pub(super) fn unmet(
        &self,
        partition: u32,
        phase: usize,
        position: impl Fn(u32) -> u64,
    ) -> Option<(u32, u64)> {
        let count = self.ends.get(phase).map_or(self.count, |ends| count_of(ends));
        let before = self.ends.get(..phase).unwrap_or(&self.ends);
        before.iter().find_map(|ends| {
            let apart = gcd(count_of(ends), count).max(1);
            let feeding = (0..).zip(ends).skip((partition % apart) as usize);
            feeding
                .step_by(apart as usize)
                // Its own part before comes before by its offsets.
                .filter(|(other, _)| *other != partition)
                .map(|(other, end)| (other, *end))
                .find(|(other, end)| position(*other) < *end)
        })
    }
}

fn end_of(ends: &[u64], partition: u32) -> u64 {
    ends.get(partition as usize).copied().unwrap_or(0)
}

fn count_of(ends: &[u64]) -> u32 {
    u32::try_from(ends.len()).unwrap_or(u32::MAX)
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a.checked_rem(b).unwrap_or(0)) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn twice_the_partitions_wait_for_one_each_and_the_old_ones_for_none() {
        let growths = Growths::new(vec![vec![10, 20]], 4);
        for old in 0..2 {
            assert_eq!(growths.phase(old, 9), 0);
            assert_eq!(growths.unmet(old, 1, |_| 0), None);
        }
        assert_eq!(growths.unmet(2, 1, |_| 0), Some((0, 10)));
        assert_eq!(growths.unmet(3, 1, |_| 0), Some((1, 20)));
        assert_eq!(growths.unmet(3, 1, |it| if it == 1 { 20 } else { 0 }), None);
    }

    #[test]
    fn from_two_to_three_even_the_old_partitions_wait_for_one_another() {
        let growths = Growths::new(vec![vec![10, 20]], 3);
        assert_eq!((growths.phase(0, 9), growths.phase(0, 10), growths.phase(2, 0)), (0, 1, 1));
        assert_eq!((growths.limit(0, 0), growths.limit(0, 1)), (10, u64::MAX));
        assert_eq!(growths.unmet(0, 1, |_| 0), Some((1, 20)));
        assert_eq!(growths.unmet(2, 1, |it| if it == 0 { 10 } else { 19 }), Some((1, 20)));
    }

    #[test]
    fn a_partition_that_was_idle_between_two_growths_does_not_let_the_first_be_forgotten() {
        // Partition 1 got nothing between the growths, so that it is at its second end from the start.
        let growths = Growths::new(vec![vec![5, 5], vec![5, 5, 0, 0]], 8);
        let done = |partition: u32| if partition == 0 { 4 } else { 5 };
        assert_eq!(growths.phase(6, 0), 2);
        assert_eq!(growths.unmet(6, 2, done), Some((0, 5)));
    }

    proptest! {
        /// Keys are numbers: for each, what was published earlier is asked for, and nothing that no
        /// key could need.
        #[test]
        fn waits_for_exactly_the_partitions_that_a_key_came_from(
            counts in proptest::collection::btree_set(1_u32..14, 2..5),
        ) {
            let counts: Vec<u32> = counts.into_iter().collect();
            let (count, old) = counts.split_last().unwrap();
            let ends = old.iter().map(|count| vec![1; *count as usize]).collect();
            let growths = Growths::new(ends, *count);
            for partition in 0..*count {
                let keys = (0..400_000).filter(|key| key % count == partition).take(2_000);
                let needed: BTreeSet<u32> = keys
                    .flat_map(|key| old.iter().map(move |count| key % count))
                    .filter(|other| *other != partition)
                    .collect();
                let mut asked = BTreeSet::new();
                let met = |asked: &BTreeSet<u32>, it: u32| u64::from(asked.contains(&it));
                while let Some((it, _)) = growths.unmet(partition, old.len(), |it| met(&asked, it)) {
                    asked.insert(it);
                }
                prop_assert_eq!(&asked, &needed, "{:?}, partition {}", counts, partition);
            }
        }
    }
}
