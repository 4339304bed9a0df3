//! What was given to the log and what it promised, line by line in a file that no cut reaches.
//!
//! ```text
//! give ROUND WRITER NUMBER .
//! ack ROUND WRITER NUMBER OFFSET ... .
//! seen ROUND WRITER NUMBER BATCH RECORD OFFSET .
//! earliest TOPIC PARTITION OFFSET .
//! topic NAME PARTITIONS .
//! grow NAME PARTITIONS .
//! drop NAME .
//! dropped NAME .
//! ```
//!
//! A line without its full stop was being written when the writer was killed, and says nothing.

use std::collections::BTreeMap;
use std::fmt::Arguments;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use dhara_log::TopicPartition;

use crate::plan::{Id, Mark};

/// Writes the history. Each line goes to the system at once, so that it outlives a SIGKILL.
#[derive(Debug)]
pub(crate) struct Journalist {
    file: File,
}

impl Journalist {
    pub(crate) fn open(path: &Path) -> Journalist {
        let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
        // The last line may have been cut off.
        file.write_all(b"\n").unwrap();
        Journalist { file }
    }

    fn line(&self, line: Arguments<'_>) {
        // One call a line: appends of one call each do not mix.
        (&self.file).write_all(format!("{line} .\n").as_bytes()).unwrap();
    }

    /// Before the log is asked to append.
    pub(crate) fn give(&self, id: Id) {
        self.line(format_args!("give {} {} {}", id.round, id.writer, id.number));
    }

    /// After the log has acked.
    pub(crate) fn ack(&self, id: Id, offsets: &[u64]) {
        let offsets: String = offsets.iter().map(|offset| format!(" {offset}")).collect();
        self.line(format_args!("ack {} {} {}{offsets}", id.round, id.writer, id.number));
    }

    /// After a record was read; `base` is where the first of its batch lies.
    pub(crate) fn seen(&self, mark: Mark, base: u64) {
        let Mark { id, batch, record } = mark;
        let Id { round, writer, number } = id;
        self.line(format_args!("seen {round} {writer} {number} {batch} {record} {base}"));
    }

    /// After the earliest offset of a partition was asked for.
    pub(crate) fn earliest(&self, partition: &TopicPartition, offset: u64) {
        self.line(format_args!("earliest {} {} {offset}", partition.topic, partition.partition));
    }

    /// Before a topic gets more partitions.
    pub(crate) fn grow(&self, name: &str, partitions: u32) {
        self.line(format_args!("grow {name} {partitions}"));
    }

    /// Before a topic is deleted.
    pub(crate) fn drop(&self, name: &str) {
        self.line(format_args!("drop {name}"));
    }

    /// After a topic was deleted.
    pub(crate) fn dropped(&self, name: &str) {
        self.line(format_args!("dropped {name}"));
    }

    /// After a topic was made, or has more partitions.
    pub(crate) fn topic(&self, name: &str, partitions: u32) {
        self.line(format_args!("topic {name} {partitions}"));
    }
}

/// The history of all rounds.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// The number after the last append that a writer gave in a round.
    pub(crate) given: BTreeMap<(u32, u32), u32>,
    pub(crate) acked: Vec<(Id, Vec<u64>)>,
    pub(crate) seen: Vec<(Mark, u64)>,
    pub(crate) topics: BTreeMap<String, u32>,
    /// How many partitions the log was asked to give to a topic.
    pub(crate) asked: BTreeMap<String, u32>,
    /// Topics that the log was asked to delete, and whether it has said that they are gone.
    pub(crate) dropped: BTreeMap<String, bool>,
    /// The greatest of the earliest offsets that a partition was known to have.
    pub(crate) earliest: BTreeMap<TopicPartition, u64>,
}

impl History {
    /// Reads the file; one that is missing is an empty history.
    pub(crate) fn read(path: &Path) -> History {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let mut history = History::default();
        for line in text.lines().filter_map(|line| line.strip_suffix(" .")) {
            history.add(line).unwrap_or_else(|| eprintln!("the history has a line `{line}`"));
        }
        history
    }

    fn add(&mut self, line: &str) -> Option<()> {
        let (kind, rest) = line.split_once(' ')?;
        let words: Vec<&str> = rest.split(' ').collect();
        match (kind, words.as_slice()) {
            ("topic", [name, partitions]) => {
                self.topics.insert((*name).to_owned(), partitions.parse().ok()?);
            }
            ("grow", [name, partitions]) => {
                self.asked.insert((*name).to_owned(), partitions.parse().ok()?);
            }
            ("drop" | "dropped", [name]) => {
                self.dropped.insert((*name).to_owned(), kind == "dropped");
            }
            ("earliest", [topic, number, offset]) => {
                let partition = TopicPartition::new(*topic, number.parse().ok()?);
                let known = self.earliest.entry(partition).or_default();
                *known = offset.parse::<u64>().ok()?.max(*known);
            }
            _ => return self.add_append(kind, rest),
        }
        Some(())
    }

    fn add_append(&mut self, kind: &str, rest: &str) -> Option<()> {
        let numbers: Vec<u64> = rest.split(' ').map_while(|number| number.parse().ok()).collect();
        let [round, writer, number, rest @ ..] = numbers.as_slice() else { return None };
        let id = Id { round: *round as u32, writer: *writer as u32, number: *number as u32 };
        match (kind, rest) {
            ("give", []) => drop(self.given.insert((id.round, id.writer), id.number + 1)),
            ("ack", offsets) => self.acked.push((id, offsets.to_vec())),
            ("seen", [batch, record, base]) => {
                let mark = Mark { id, batch: *batch as u16, record: *record as u16 };
                self.seen.push((mark, *base));
            }
            _ => return None,
        }
        Some(())
    }

    /// Whether the log was asked to append this.
    pub(crate) fn was_given(&self, id: Id) -> bool {
        self.given.get(&(id.round, id.writer)).is_some_and(|next| id.number < *next)
    }
}
