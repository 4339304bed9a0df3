//! What the program is asked to do.

use std::ffi::OsString;
use std::path::PathBuf;

use dhara_log::TopicPartition;
use lexopt::prelude::*;

pub(crate) const HELP: &str = "\
dhara-log: looks at a log in its folder. Nothing is changed but by `repair --yes`.

  dhara-log list DIR                     topics, partitions, offsets, configuration, groups
  dhara-log dump DIR TOPIC/PARTITION     the records of a partition, one a line
       --from N                          from this offset on
       --count N                         at most so many records
       --json                            each record as a JSON object
  dhara-log frames DIR                   the frames of all files as they lie (also: dump DIR --raw)
  dhara-log verify DIR                   reads every file, compares every checksum, tells all damage
  dhara-log repair DIR                   tells what a repair would do
       --yes                             does it; what is cut or written over is kept in .cut files
  dhara-log stats DIR                    how much room the log takes, and for what
  dhara-log --help                       this

The log must not be open in another process. Exit code: 0 all is well, 1 there is damage, 2 it could
not be done.
";

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Command {
    List { dir: PathBuf },
    Dump { dir: PathBuf, wanted: Wanted },
    Frames { dir: PathBuf },
    Verify { dir: PathBuf },
    Repair { dir: PathBuf, is_agreed: bool },
    Stats { dir: PathBuf },
}

/// Which records are to be shown, and how.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) partition: TopicPartition,
    /// The first offset; the earliest where it is not said.
    pub(crate) from: Option<u64>,
    pub(crate) count: u64,
    pub(crate) is_json: bool,
}

pub(crate) enum Parsed {
    Command(Command),
    Help,
}

#[derive(Default)]
struct Options {
    from: Option<u64>,
    count: Option<u64>,
    is_json: bool,
    is_raw: bool,
    is_agreed: bool,
}

pub(crate) fn parse(mut parser: lexopt::Parser) -> Result<Parsed, lexopt::Error> {
    let mut words: Vec<OsString> = Vec::new();
    let mut options = Options::default();
    while let Some(argument) = parser.next()? {
        let command = words.first().and_then(|word| word.to_str()).unwrap_or_default().to_owned();
        match argument {
            Long("help") | Short('h') => return Ok(Parsed::Help),
            Long("from") if command == "dump" => options.from = Some(parser.value()?.parse()?),
            Long("count") if command == "dump" => options.count = Some(parser.value()?.parse()?),
            Long("json") if command == "dump" => options.is_json = true,
            Long("raw") if command == "dump" => options.is_raw = true,
            Long("yes") if command == "repair" => options.is_agreed = true,
            Value(word) => words.push(word),
            other => return Err(other.unexpected()),
        }
    }
    let mut words = words.into_iter();
    let Some(command) = words.next() else { return Err("no command was given".into()) };
    let command = command.string()?;
    if !["list", "dump", "frames", "verify", "repair", "stats"].contains(&command.as_str()) {
        return Err(format!("there is no command {command:?}").into());
    }
    let Some(dir) = words.next().map(PathBuf::from) else {
        return Err(format!("{command}: the folder of the log is missing").into());
    };
    let command = match command.as_str() {
        "list" => Command::List { dir },
        "dump" if options.is_raw => Command::Frames { dir },
        "dump" => Command::Dump { dir, wanted: wanted(words.next(), &options)? },
        "frames" => Command::Frames { dir },
        "verify" => Command::Verify { dir },
        "repair" => Command::Repair { dir, is_agreed: options.is_agreed },
        _ => Command::Stats { dir },
    };
    match words.next() {
        Some(surplus) => Err(format!("what is {} for?", surplus.to_string_lossy()).into()),
        None => Ok(Parsed::Command(command)),
    }
}

fn wanted(word: Option<OsString>, options: &Options) -> Result<Wanted, lexopt::Error> {
    let Some(word) = word else {
        return Err("dump: which partition? It is given as TOPIC/PARTITION, as in orders/0".into());
    };
    let word = word.string()?;
    let parsed = word
        .rsplit_once('/')
        .and_then(|(topic, number)| Some(TopicPartition::new(topic, number.parse().ok()?)));
    let Some(partition) = parsed else {
        return Err(format!("dump: {word:?} is no partition; give one as in orders/0").into());
    };
    let (from, count) = (options.from, options.count.unwrap_or(u64::MAX));
    Ok(Wanted { partition, from, count, is_json: options.is_json })
}
