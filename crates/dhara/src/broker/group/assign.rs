//! Which member of a group has which partition.

use std::collections::BTreeMap;

/// A member's number within its group.
pub(crate) type MemberId = u64;

/// One partition, as the spreading sees it.
#[derive(Clone, Debug)]
pub(super) struct Share {
    /// Who has it, or is about to.
    pub(super) owner: Option<MemberId>,
    /// It is on its way from one member to another and stays on it.
    pub(super) fixed: bool,
    /// The members that read its topic, sorted.
    pub(super) eligible: Vec<MemberId>,
}

/// Gives every share an owner and moves as few as it can, so that of two members that may have a
/// share neither has two more than the other.
pub(super) fn spread(shares: &mut [Share]) {
    let mut counts = Counts::default();
    for share in shares.iter_mut() {
        match share.owner {
            Some(owner) if share.eligible.contains(&owner) => counts.add(owner),
            _ => share.owner = None,
        }
    }
    for share in shares.iter_mut().filter(|share| share.owner.is_none()) {
        share.owner = counts.least_loaded(share);
        share.owner.into_iter().for_each(|owner| counts.add(owner));
    }
    while even_out(shares, &mut counts) {}
}

/// How many shares each member has.
#[derive(Debug, Default)]
struct Counts(BTreeMap<MemberId, usize>);

impl Counts {
    fn of(&self, member: MemberId) -> usize {
        self.0.get(&member).copied().unwrap_or(0)
    }

    fn add(&mut self, member: MemberId) {
        *self.0.entry(member).or_default() += 1;
    }

    fn least_loaded(&self, share: &Share) -> Option<MemberId> {
        share.eligible.iter().copied().min_by_key(|member| (self.of(*member), *member))
    }
}

/// Moves shares whose owner has at least two more than another member that may have them; false
/// when there was none. Every move lowers the sum of the squares of the counts, so it ends.
fn even_out(shares: &mut [Share], counts: &mut Counts) -> bool {
    let mut moved = false;
    for share in shares.iter_mut().filter(|share| !share.fixed) {
        let (Some(owner), Some(to)) = (share.owner, counts.least_loaded(share)) else { continue };
        if counts.of(owner) > counts.of(to) + 1 {
            counts.0.entry(owner).and_modify(|count| *count -= 1);
            counts.add(to);
            share.owner = Some(to);
            moved = true;
        }
    }
    moved
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shares(partitions: usize, members: &[MemberId]) -> Vec<Share> {
        vec![Share { owner: None, fixed: false, eligible: members.to_vec() }; partitions]
    }

    fn count(shares: &[Share], member: MemberId) -> usize {
        shares.iter().filter(|share| share.owner == Some(member)).count()
    }

    fn owners(shares: &[Share]) -> Vec<Option<MemberId>> {
        shares.iter().map(|share| share.owner).collect()
    }

    #[test]
    fn eight_partitions_over_three_members_are_three_three_and_two() {
        let mut all = shares(8, &[1, 2, 3]);
        spread(&mut all);
        let mut counts = [1, 2, 3].map(|member| count(&all, member));
        counts.sort_unstable();
        assert_eq!(counts, [2, 3, 3]);
    }

    #[test]
    fn a_newcomer_takes_only_its_fair_part() {
        let mut all = shares(8, &[1]);
        spread(&mut all);
        all.iter_mut().for_each(|share| share.eligible.push(2));
        spread(&mut all);
        assert_eq!(count(&all, 1), 4);
        assert_eq!(count(&all, 2), 4);
        let before = owners(&all);
        spread(&mut all);
        assert_eq!(owners(&all), before, "what is fair stays");
    }

    #[test]
    fn nobody_is_given_a_topic_it_does_not_read() {
        let mut all = shares(2, &[1]);
        all.extend(shares(2, &[1, 2]));
        all.extend(shares(1, &[]));
        spread(&mut all);
        assert_eq!(owners(&all), [Some(1), Some(1), Some(2), Some(2), None]);
    }

    proptest! {
        #[test]
        fn every_spread_is_fair(
            partitions in 0_usize..40,
            owners in proptest::collection::vec(proptest::option::of(1_u64..8), 40),
            members in 1_u64..7,
        ) {
            let members: Vec<MemberId> = (1..=members).collect();
            let mut all = shares(partitions, &members);
            all.iter_mut().zip(owners).for_each(|(share, owner)| share.owner = owner);
            spread(&mut all);
            let counts: Vec<usize> = members.iter().map(|member| count(&all, *member)).collect();
            prop_assert_eq!(counts.iter().sum::<usize>(), partitions);
            let most = counts.iter().max().unwrap();
            prop_assert!(most - counts.iter().min().unwrap() <= 1, "{:?}", counts);
        }
    }
}
