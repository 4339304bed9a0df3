//! Random histories of producers, held against a model that keeps everything in lists.

use proptest::prelude::*;

use super::*;
use crate::codec::Cursor;

const MODULUS: i64 = 1 << 31;

/// One thing that happens. `pick` chooses among what there is.
#[derive(Clone, Debug)]
enum Op {
    /// A batch `ahead` of where its producer goes on, in an epoch `later` than its own.
    Send { partition: u32, producer: i64, ahead: i64, count: i64, later: i16 },
    /// A batch that was accepted before, once more.
    Repeat { pick: usize },
    /// The topic of a partition is deleted.
    Forget { partition: u32 },
    /// Written to a state file and read again.
    Reload,
}

fn op() -> impl Strategy<Value = Op> {
    let ahead = prop_oneof![8 => Just(0_i64), 1 => 1..4_i64, 2 => -25..0_i64];
    let later = prop_oneof![20 => Just(0_i16), 1 => Just(1), 1 => Just(-1)];
    let send = (0..3_u32, 0..3_i64, ahead, 1..4_i64, later).prop_map(
        |(partition, producer, ahead, count, later)| Op::Send {
            partition,
            producer,
            ahead,
            count,
            later,
        },
    );
    prop_oneof![
        40 => send,
        8 => (0..400_usize).prop_map(|pick| Op::Repeat { pick }),
        1 => (0..3_u32).prop_map(|partition| Op::Forget { partition }),
        1 => Just(Op::Reload),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Accepted {
    partition: u32,
    batch: Sequenced,
    base: u64,
    next: u64,
}

/// What was accepted of each pair without a gap, the pair that gives way next first.
#[derive(Debug)]
struct Model {
    most: usize,
    pairs: Vec<(Key, Vec<Accepted>)>,
}

impl Model {
    fn run(&self, key: Key) -> &[Accepted] {
        self.pairs.iter().find(|(known, _)| *known == key).map_or(&[], |(_, run)| run)
    }

    fn check(&self, partition: u32, batch: &Sequenced) -> Result<Verdict, ProducerError> {
        let run = self.run((partition, batch.producer));
        let Some(newest) = run.last() else { return Ok(Verdict::New) };
        let (epoch, current) = (batch.epoch, newest.batch.epoch);
        let found = batch.first;
        if epoch < current {
            return Err(ProducerError::Fenced { epoch, current });
        }
        let expected = if epoch > current { 0 } else { following(newest.batch.last) };
        if found == expected {
            return Ok(Verdict::New);
        }
        let (old, recent) = run.split_at(run.len().saturating_sub(5));
        if let Some(original) = recent.iter().find(|accepted| accepted.batch == *batch) {
            return Ok(Verdict::Repeat { base_offset: original.base, next: original.next });
        }
        let old: Vec<i32> = old.iter().flat_map(|accepted| sequences(&accepted.batch)).collect();
        if epoch == current && sequences(batch).iter().all(|sequence| old.contains(sequence)) {
            return Err(ProducerError::Stale { expected, found });
        }
        Err(ProducerError::OutOfSequence { expected, found })
    }

    fn note(&mut self, accepted: Accepted) {
        let key = (accepted.partition, accepted.batch.producer);
        let mut run = self.run(key).to_vec();
        let follows = run.last().is_some_and(|newest| {
            newest.batch.epoch == accepted.batch.epoch
                && following(newest.batch.last) == accepted.batch.first
        });
        if !follows {
            run.clear();
        }
        run.push(accepted);
        self.pairs.retain(|(known, _)| *known != key);
        self.pairs.push((key, run));
        if self.pairs.len() > self.most {
            self.pairs.remove(0);
        }
    }
}

fn following(sequence: i32) -> i32 {
    wrapped(i64::from(sequence) + 1)
}

fn wrapped(sequence: i64) -> i32 {
    i32::try_from(sequence.rem_euclid(MODULUS)).expect("a sequence")
}

fn sequences(batch: &Sequenced) -> Vec<i32> {
    let mut all = vec![batch.first];
    while all.last() != Some(&batch.last) {
        all.push(following(all[all.len() - 1]));
    }
    all
}

/// One entry of the journal.
#[derive(Clone, Copy, Debug)]
enum Frame {
    Batch(Accepted),
    Gone(u32),
}

/// Where the ops lead: partitions that were deleted come again under other ids.
struct World {
    model: Model,
    ids: Vec<u32>,
    ends: Vec<u64>,
    journal: Vec<Frame>,
    accepted: Vec<Accepted>,
}

impl World {
    fn new(most: usize) -> Self {
        Self {
            model: Model { most, pairs: Vec::new() },
            ids: (0..3).collect(),
            ends: vec![0; 3],
            journal: Vec::new(),
            accepted: Vec::new(),
        }
    }

    /// The batch that an op sends, and to which partition.
    fn sent(&self, op: &Op) -> Option<(u32, Sequenced)> {
        match *op {
            Op::Send { partition, producer, ahead, count, later } => {
                let partition = self.ids[partition as usize];
                let newest = self.model.run((partition, producer)).last();
                let (epoch, last) =
                    newest.map_or((3, i32::MAX - 40), |one| (one.batch.epoch, one.batch.last));
                let goes_on = if later == 0 { i64::from(last) + 1 } else { 0 };
                let (first, epoch) = (goes_on + ahead, epoch + later);
                let (first, last) = (wrapped(first), wrapped(first + count - 1));
                Some((partition, Sequenced { producer, epoch, first, last }))
            }
            Op::Repeat { pick } => {
                let at = self.accepted.len().checked_sub(1 + pick % 12)?;
                let accepted = self.accepted[at];
                Some((accepted.partition, accepted.batch))
            }
            Op::Forget { .. } | Op::Reload => None,
        }
    }

    fn accept(&mut self, partition: u32, batch: Sequenced) -> Accepted {
        let base = self.ends[partition as usize];
        let next = base + u64::from(batch.count());
        self.ends[partition as usize] = next;
        let accepted = Accepted { partition, batch, base, next };
        self.model.note(accepted);
        self.journal.push(Frame::Batch(accepted));
        self.accepted.push(accepted);
        accepted
    }

    fn forget(&mut self, place: u32) -> u32 {
        let next = u32::try_from(self.ends.len()).expect("few partitions");
        let gone = std::mem::replace(&mut self.ids[place as usize], next);
        self.ends.push(0);
        self.model.pairs.retain(|(key, _)| key.0 != gone);
        self.accepted.retain(|accepted| accepted.partition != gone);
        self.journal.push(Frame::Gone(gone));
        gone
    }
}

fn encoded(producers: &Producers) -> Vec<u8> {
    let mut out = Vec::new();
    producers.encode(&mut out);
    out
}

fn reloaded(bytes: &[u8], most: usize) -> Producers {
    let mut cursor = Cursor::new(bytes);
    let producers = Producers::decode(&mut cursor, most).expect("what was encoded");
    assert!(cursor.is_empty());
    assert_eq!(encoded(&producers), bytes);
    producers
}

fn put(producers: &mut Producers, accepted: &Accepted) {
    let Accepted { partition, batch, base, next } = accepted;
    producers.note(*partition, batch, *base, *next, *base);
}

/// The pairs and their newest batches, as the model and as the producers have them.
fn assert_same(producers: &Producers, model: &Model) {
    let mut expected: Vec<_> = model
        .pairs
        .iter()
        .map(|((partition, producer), run)| {
            let newest = run.last().expect("a batch");
            let batch = newest.batch;
            (*partition, *producer, batch.epoch, batch.last, newest.next, newest.base)
        })
        .collect();
    expected.sort_unstable();
    let found: Vec<_> = producers
        .iter()
        .map(|info| {
            let ProducerInfo { partition, producer, epoch, last_sequence, next, last_ms } = info;
            (partition, producer, epoch, last_sequence, next, last_ms)
        })
        .collect();
    assert_eq!(found, expected);
}

/// Runs the ops against the model; gives the world, the producers, and after each frame of the
/// journal what a state file would have held.
fn run(ops: &[Op], most: usize) -> (World, Producers, Vec<Vec<u8>>) {
    let mut world = World::new(most);
    let mut producers = Producers::new(most);
    let mut states = vec![encoded(&producers)];
    for op in ops {
        if let Some((partition, batch)) = world.sent(op) {
            let verdict = world.model.check(partition, &batch);
            assert_eq!(producers.check(partition, &batch), verdict, "{batch:?}");
            if verdict == Ok(Verdict::New) {
                put(&mut producers, &world.accept(partition, batch));
            }
        }
        match *op {
            Op::Forget { partition } => producers.forget_partition(world.forget(partition)),
            Op::Reload => producers = reloaded(&encoded(&producers), most),
            Op::Send { .. } | Op::Repeat { .. } => {}
        }
        if states.len() <= world.journal.len() {
            states.push(encoded(&producers));
        }
        assert_same(&producers, &world.model);
    }
    (world, producers, states)
}

proptest! {
    #[test]
    fn producers_are_what_the_model_says(
        ops in prop::collection::vec(op(), 0..250),
        most in 1..8_usize,
    ) {
        run(&ops, most);
    }

    #[test]
    fn a_replay_over_a_newer_state_comes_to_the_same(
        ops in prop::collection::vec(op(), 0..250),
        most in 1..8_usize,
        taken in any::<prop::sample::Index>(),
        from in any::<prop::sample::Index>(),
    ) {
        let (world, producers, states) = run(&ops, most);
        let taken = taken.index(states.len());
        let from = from.index(taken + 1);
        let gone: Vec<u32> = world.journal[..taken]
            .iter()
            .filter_map(|frame| if let Frame::Gone(id) = frame { Some(*id) } else { None })
            .collect();
        let mut replayed = reloaded(&states[taken], most);
        for frame in &world.journal[from..] {
            match frame {
                Frame::Batch(accepted) if gone.contains(&accepted.partition) => {}
                Frame::Batch(accepted) => put(&mut replayed, accepted),
                Frame::Gone(id) => replayed.forget_partition(*id),
            }
        }
        prop_assert_eq!(encoded(&replayed), encoded(&producers));
    }

    #[test]
    fn commits_come_to_the_same_as_one_batch_after_another(
        commits in prop::collection::vec(
            (prop::collection::vec((op(), any::<bool>()), 0..12), prop::bool::weighted(0.8)),
            0..25,
        ),
    ) {
        let most = 100;
        let mut world = World::new(most);
        let mut producers = Producers::new(most);
        for (ops, is_durable) in commits {
            let before = encoded(&producers);
            let (pairs, ends) = (world.model.pairs.clone(), world.ends.clone());
            let lengths = (world.journal.len(), world.accepted.len());
            let mut pending = Pending::over(&producers);
            for (op, is_kept) in ops {
                let Some((partition, batch)) = world.sent(&op) else { continue };
                pending.begin();
                let verdict = world.model.check(partition, &batch);
                prop_assert_eq!(pending.check(partition, &batch), verdict);
                let base = world.ends[partition as usize];
                if verdict == Ok(Verdict::New) {
                    let next = base + u64::from(batch.count());
                    pending.note(partition, &batch, base, next, base);
                    match is_kept {
                        true => drop(world.accept(partition, batch)),
                        false => pending.roll_back(),
                    }
                }
            }
            let notes = pending.into_notes();
            prop_assert_eq!(encoded(&producers), before);
            if is_durable {
                producers.apply(notes);
            } else {
                (world.model.pairs, world.ends) = (pairs, ends);
                world.journal.truncate(lengths.0);
                world.accepted.truncate(lengths.1);
            }
            assert_same(&producers, &world.model);
        }
        let mut one_by_one = Producers::new(most);
        world.accepted.iter().for_each(|accepted| put(&mut one_by_one, accepted));
        prop_assert_eq!(encoded(&one_by_one), encoded(&producers));
    }

    #[test]
    fn no_bytes_make_the_decoder_fall_over(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        ops in prop::collection::vec(op(), 0..60),
        at in any::<prop::sample::Index>(),
        value in any::<u8>(),
    ) {
        drop(Producers::decode(&mut Cursor::new(&bytes), 4));
        let (_, producers, _) = run(&ops, 4);
        let mut bytes = encoded(&producers);
        let at = at.index(bytes.len());
        bytes[at] = value;
        if let Some(read) = Producers::decode(&mut Cursor::new(&bytes), 4) {
            prop_assert!(read.iter().count() <= 4);
        }
    }
}
