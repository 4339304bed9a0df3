//! What a run does, at random.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dhara_log::{
    Append, Condition, GroupOffset, LogError, NewTopic, Note, SyncPolicy, Ticket, TopicConfig,
    TopicInfo, TopicPartition,
};

use super::batches::{encode, key_of, records, sequenced, span};
use super::model::{Facts, Model, Part, Record, Sent, Topic};
use super::run::Run;

const NAMES: [&str; 4] = ["orders", "payments", "stock", "mail"];
const ALIASES: [&str; 3] = ["x", "y", "z"];

/// What an append has to come to.
#[derive(Debug)]
enum Expected {
    Offsets(Vec<u64>),
    Repeat(Vec<u64>),
    Refused,
}

impl Run {
    pub(crate) fn work(&mut self, rounds: usize) {
        for _ in 0..rounds {
            self.advance(self.random.below(30));
            match self.random.below(40) {
                0..22 => self.commit(),
                22..26 => self.change_topic(),
                26..28 => self.trim(),
                28..31 => self.housekeep(1 + self.random.below(3)),
                31..34 => self.housekeep(200),
                34 => self.settle(),
                35 => {
                    self.log().mark_step();
                    self.all_durable();
                }
                36 => {
                    self.log().sync_step();
                    self.all_durable();
                }
                37 => self.reopen(true),
                38 => self.reopen(false),
                _ => self.advance(300),
            }
            if self.model.facts.topics.len() < 2 {
                self.create_topic();
            }
        }
        self.compare();
    }

    /// One commit of several appends.
    fn commit(&mut self) {
        let mut tickets: Vec<(Ticket, Expected)> = Vec::new();
        let mut least_durable = 0;
        for _ in 0..=self.random.below(3) {
            let started = self.disk.moment();
            let (append, expected, is_strong) = match self.random.below(4) {
                0 => self.produce(),
                _ => self.append(),
            };
            if append.batches.is_empty() && append.offsets.is_empty() && append.notes.is_empty() {
                continue;
            }
            if let Expected::Offsets(_) = expected {
                self.push_op(started, format!("{expected:?}"));
                if is_strong {
                    least_durable = self.ops.len();
                }
            } else if matches!(expected, Expected::Repeat(_)) && is_strong {
                // A repeat tells that its original is durable.
                least_durable = self.ops.len();
            }
            tickets.push((self.log().append(append), expected));
        }
        self.log().commit_step();
        for (ticket, expected) in tickets {
            let result = ticket.wait();
            match (&result, &expected) {
                (Ok(appended), Expected::Offsets(offsets)) => {
                    assert_eq!(appended.base_offsets(), offsets);
                    assert!(!appended.is_repeat());
                }
                (Ok(appended), Expected::Repeat(offsets)) => {
                    assert_eq!(appended.base_offsets(), offsets);
                    assert!(appended.is_repeat());
                }
                (
                    Err(
                        LogError::Conflict { .. }
                        | LogError::KeyConflict { .. }
                        | LogError::NoteChanged { .. },
                    ),
                    Expected::Refused,
                ) => {}
                _ => panic!("{result:?} where {expected:?} was expected"),
            }
        }
        self.first_durable(least_durable);
    }

    fn pick_partition(&self) -> Option<(String, u32)> {
        let all = self.model.facts.partitions();
        all.get(self.random.below(all.len() as u64) as usize).cloned()
    }

    /// Takes a batch into the model; gives its offset and its bytes.
    fn take(&mut self, name: &str, number: u32, records: Vec<Record>) -> (u64, Bytes) {
        let codec = self.random.below(40) as usize;
        let bytes = encode(&records, codec);
        let now = self.now();
        let id = self.model.facts.topics[name].id;
        let part = self.model.facts.part(name, number);
        let base = part.end;
        part.end += records.len() as u64;
        let newest = records.iter().map(|record| record.time).max().unwrap_or(0);
        let sent = Sent { next: part.end, span: span(&bytes), arrival: newest.min(now) };
        let stored = self.books.entry((id, number)).or_default();
        stored.records.extend(records);
        stored.batches.push(sent);
        (base, bytes)
    }

    fn append(&mut self) -> (Append, Expected, bool) {
        let mut append = Append::default();
        let is_refused = self.condition(&mut append);
        let mut offsets = Vec::new();
        let mut is_strong = false;
        for _ in 0..=self.random.below(3) {
            let Some((name, number)) = self.pick_partition() else { continue };
            let is_compact = self.model.facts.topics[&name].config.compact;
            let has_keys = is_compact || self.random.below(3) == 0;
            let records = records(&self.random, self.now(), has_keys);
            is_strong |= self.model.is_strong(&name);
            let named = self.named(&name, number);
            if is_refused {
                append.batches.push((named, encode(&records, usize::MAX)));
                continue;
            }
            let (base, bytes) = self.take(&name, number, records);
            offsets.push(base);
            append.batches.push((named, bytes));
        }
        is_strong |= self.positions_and_notes(&mut append, is_refused);
        match is_refused {
            true => (append, Expected::Refused, false),
            false => (append, Expected::Offsets(offsets), is_strong),
        }
    }

    /// Offsets of groups, and notes; whether there are any.
    fn positions_and_notes(&mut self, append: &mut Append, is_refused: bool) -> bool {
        if self.random.below(3) == 0
            && let Some((name, number)) = self.pick_partition()
        {
            let group = format!("group {}", self.random.below(2));
            let key = (group.clone(), name.clone(), number);
            let partition = self.named(&name, number);
            let offset = self.random.below(1_000);
            let forgets = self.random.below(5) == 0;
            append.offsets.push(match forgets {
                true => GroupOffset::forget(group, partition),
                false => GroupOffset::new(group, partition, offset),
            });
            match (is_refused, forgets) {
                (true, _) => {}
                (false, true) => drop(self.model.facts.positions.remove(&key)),
                (false, false) => drop(self.model.facts.positions.insert(key, offset)),
            }
        }
        if self.random.below(4) == 0 {
            let name = format!("note {}", self.random.below(3));
            let value = format!("{:x}", self.random.next_u64()).into_bytes();
            let value = (self.random.below(4) != 0).then_some(value);
            let bytes = value.clone().map(Bytes::from);
            append.notes.push(Note { name: name.as_str().into(), value: bytes });
            match (is_refused, value) {
                (true, _) => {}
                (false, Some(value)) => drop(self.model.facts.notes.insert(name, value)),
                (false, None) => drop(self.model.facts.notes.remove(&name)),
            }
        }
        !append.offsets.is_empty() || !append.notes.is_empty()
    }

    /// Now and then a condition; whether it does not hold.
    fn condition(&mut self, append: &mut Append) -> bool {
        let is_wrong = self.random.below(3) == 0;
        let Some((name, number)) = self.pick_partition() else { return false };
        let partition = TopicPartition::new(name.as_str(), number);
        let part = *self.model.facts.part(&name, number);
        let condition = match self.random.below(20) {
            0 | 1 => Condition::NextOffset(partition, part.end + u64::from(is_wrong)),
            2 | 3 if !self.model.compacted.contains_key(&self.model.facts.topics[&name].id) => {
                let key = key_of(self.random.below(6));
                let id = self.model.facts.topics[&name].id;
                let stored = self.books.get(&(id, number));
                let records = stored.map(|stored| stored.records.as_slice()).unwrap_or_default();
                let last = records
                    .iter()
                    .rposition(|record| record.key.as_ref() == Some(&key))
                    .map(|offset| offset as u64)
                    .filter(|offset| *offset >= part.earliest);
                let last = if is_wrong { Some(last.map_or(0, |last| last + 1)) } else { last };
                Condition::LastOfKey { partition, key: key.into(), last }
            }
            4 | 5 => {
                let note = format!("note {}", self.random.below(3));
                let value = self.model.facts.notes.get(&note).cloned().map(Bytes::from);
                let other = Some(Bytes::from_static(b"another"));
                Condition::Note(note.into(), if is_wrong { other } else { value })
            }
            _ => return false,
        };
        append.conditions.push(condition);
        is_wrong
    }

    /// A batch of an idempotent producer: a new one, or one of the last five once more.
    fn produce(&mut self) -> (Append, Expected, bool) {
        let none = (Append::default(), Expected::Refused, false);
        let Some((name, number)) = self.pick_partition() else { return none };
        let id = self.model.facts.topics[&name].id;
        let producer = 1 + self.random.below(2) as i64;
        let source = (id, number, producer);
        let known = self.model.producers.get(&source).cloned().unwrap_or_default();
        let is_strong = self.model.is_strong(&name);
        let named = self.named(&name, number);
        let now = self.now();
        if self.random.below(3) == 0
            && let Some((first, count, base)) =
                known.get(self.random.below(known.len() as u64) as usize).copied()
        {
            let record = Record { key: None, value: Some(b"again".to_vec()), time: now };
            let bytes = encode(&vec![record; count as usize], usize::MAX);
            let bytes = sequenced(&bytes, producer, first);
            return (Append::batch(named, bytes), Expected::Repeat(vec![base]), is_strong);
        }
        let has_keys = self.model.facts.topics[&name].config.compact;
        let records = records(&self.random, now, has_keys);
        let count = records.len() as i32;
        let first = known.last().map_or(0, |(first, count, _)| first + count);
        let (base, bytes) = self.take(&name, number, records);
        self.model.note_producer(source, first, count, base);
        let append = Append::batch(named, sequenced(&bytes, producer, first));
        (append, Expected::Offsets(vec![base]), is_strong)
    }

    fn config(&self) -> TopicConfig {
        let random = &self.random;
        let compact = random.below(3) == 0;
        let has = |one_in| random.below(one_in) == 0;
        let retention = has(3).then(|| Duration::from_millis(50 + random.below(400)));
        let bytes = (!compact && has(4)).then(|| 500 + random.below(4_000));
        let sync = match random.below(6) {
            0 => SyncPolicy::Os,
            1 => SyncPolicy::Interval(Duration::from_millis(5)),
            _ => SyncPolicy::EveryAck,
        };
        let other = [("kept".to_owned(), random.below(100).to_string())].into_iter().collect();
        TopicConfig {
            retention,
            retention_bytes: bytes,
            compact,
            tombstone_delay: Duration::from_millis(20 + random.below(200)),
            sync,
            other,
        }
    }

    /// A topic changed: the model takes over what the log says of it, after a look at it.
    fn changed(&mut self, started: usize, name: &str, info: &TopicInfo, mut topic: Topic) {
        topic.id = info.id;
        self.model.put_topic(name, topic);
        self.push_op(started, format!("{name} is {info:?}"));
        self.all_durable();
        self.compare();
    }

    fn free_aliases(&self) -> Vec<Arc<str>> {
        let alias = ALIASES[self.random.below(3) as usize];
        let is_taken = self
            .model
            .facts
            .topics
            .values()
            .any(|topic| topic.aliases.iter().any(|other| &**other == alias));
        if is_taken || self.random.below(3) == 0 { Vec::new() } else { vec![alias.into()] }
    }

    pub(crate) fn create_topic(&mut self) {
        let name = NAMES[self.random.below(4) as usize];
        if self.model.facts.topics.contains_key(name) {
            return;
        }
        let count = 1 + self.random.below(3) as u32;
        let (config, aliases) = (self.config(), self.free_aliases());
        let new = NewTopic {
            config: config.clone(),
            aliases: aliases.clone(),
            ..NewTopic::new(name, count)
        };
        let started = self.disk.moment();
        let info = self.log().new_topic(new).unwrap();
        assert!(!self.model.ids.contains(&info.id), "an id of a topic came twice");
        let parts = vec![Part { earliest: 0, end: 0 }; count as usize];
        let (config, growths) = (Arc::new(config), Vec::new());
        let topic = Topic { id: 0, config, aliases, growths, parts };
        self.changed(started, name, &info, topic);
    }

    fn change_topic(&mut self) {
        let Some((name, _)) = self.pick_partition() else { return };
        let mut topic = self.model.facts.topics[&name].clone();
        let started = self.disk.moment();
        let info = match self.random.below(8) {
            0..3 => return self.create_topic(),
            3 => return self.delete_topic(&name),
            4 if topic.parts.len() < 5 => {
                topic.growths.push(topic.parts.iter().map(|part| part.end).collect());
                topic.parts.push(Part { earliest: 0, end: 0 });
                self.log().add_partitions(&name, topic.parts.len() as u32)
            }
            5 => {
                topic.aliases = self.free_aliases();
                let aliases: Vec<&str> = topic.aliases.iter().map(|alias| &**alias).collect();
                self.log().set_aliases(&name, &aliases)
            }
            _ => {
                topic.config = Arc::new(self.config());
                self.log().configure_topic(&name, (*topic.config).clone())
            }
        };
        self.changed(started, &name, &info.unwrap(), topic);
    }

    fn delete_topic(&mut self, name: &str) {
        let started = self.disk.moment();
        self.log().delete_topic(name).unwrap();
        self.model.remove_topic(name);
        self.push_op(started, format!("{name} is deleted"));
        self.all_durable();
    }

    fn trim(&mut self) {
        let mut wanted = Vec::new();
        let started = self.disk.moment();
        for _ in 0..=self.random.below(2) {
            let Some((name, number)) = self.pick_partition() else { continue };
            let part = self.model.facts.part(&name, number);
            let to = part.earliest + (self.random.below(4) * (part.end - part.earliest)) / 3;
            let partition = TopicPartition::new(name.as_str(), number);
            if wanted.iter().any(|(other, _)| *other == partition) {
                continue;
            }
            if to > part.earliest {
                part.earliest = to;
                self.push_op(started, format!("{partition} begins at {to}"));
            }
            wanted.push((partition, to));
        }
        self.log().trim(&wanted).unwrap();
        // A trim to where it begins already writes nothing.
        if self.ops.last().is_some_and(|op| op.started >= started) {
            self.all_durable();
        }
        self.compare();
    }

    fn housekeep(&mut self, most: u64) {
        for _ in 0..most {
            let started = self.disk.moment();
            let is_more = self.log().housekeep_step().unwrap();
            self.notice_trims(started);
            if !is_more {
                return;
            }
        }
        assert!(most < 200, "there is no end of housekeeping");
    }

    fn settle(&mut self) {
        self.log().settle().unwrap();
        self.compare();
    }

    /// Takes up what has expired, in the order in which the log lets it.
    fn notice_trims(&mut self, started: usize) {
        let facts = Facts::of(self.log());
        let count = self.ops.len();
        for (name, number) in facts.partitions() {
            let to = facts.topics[&name].parts[number as usize].earliest;
            if let Some(from) = expired(&mut self.model, &name, number, to) {
                let topic = &self.model.facts.topics[&name];
                let stored = &self.books[&(topic.id, number)];
                let was_compacted = self.model.compacted.contains_key(&topic.id);
                let now = self.now();
                let may = stored.may_expire(&topic.config, was_compacted, (from, to), now);
                assert!(may, "{name}/{number} expired from {from} to {to}");
                self.push_op(started, format!("{name}/{number} expires to {to}"));
            }
        }
        if self.ops.len() > count {
            self.all_durable();
        }
        self.compare();
    }
}

/// Lets a partition of the model begin at `to`; gives where it began, where that is another offset.
pub(crate) fn expired(model: &mut Model, name: &str, number: u32, to: u64) -> Option<u64> {
    let part = model.facts.part(name, number);
    let from = std::mem::replace(&mut part.earliest, to);
    assert!(from <= to, "{name}/{number} began at {from}, and begins at {to}");
    (from < to).then_some(from)
}
