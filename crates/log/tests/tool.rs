//! `dhara-log`, the program, on folders as they are and as they should not be.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on here has failed")]

#[path = "fixture/read.rs"]
mod read;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use dhara_log::batch::BatchBuilder;
use dhara_log::{Append, Log, OpenReport, Options};
use dhara_world::disk::RealDisk;
use read::{clock, partition, read_all};

/// A folder that is removed when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("dhara-log-tool-{name}-{}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        drop(fs::remove_dir_all(&dir));
        fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    /// A copy of the fixture of a version.
    fn of_version(version: u32, name: &str) -> Self {
        let folder = Self::new(&format!("{name}-v{version}"));
        let from = Path::new(env!("CARGO_MANIFEST_DIR"));
        for entry in fs::read_dir(from.join(format!("tests/fixtures/v{version}"))).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), folder.0.join(entry.file_name())).unwrap();
        }
        folder
    }

    fn open(&self) -> Log {
        let options = Options { clock: clock(), tail_bytes: 0, ..Options::default() };
        Log::open(Arc::new(RealDisk), &self.0, options).unwrap()
    }

    fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        let files = fs::read_dir(&self.0).unwrap().map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap())
        });
        files.collect()
    }

    /// Changes the bytes of a file.
    fn edit(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = fs::read(self.0.join(name)).unwrap();
        change(&mut bytes);
        fs::write(self.0.join(name), bytes).unwrap();
    }

    fn flip(&self, name: &str, at: usize) {
        self.edit(name, |bytes| *bytes.get_mut(at).unwrap() ^= 0x40);
    }

    /// Where in which file the value of a record lies.
    fn find(&self, kind: &str, value: &str) -> (String, usize) {
        let found = self.contents().into_iter().find_map(|(name, bytes)| {
            let at = bytes.windows(value.len()).position(|window| window == value.as_bytes())?;
            name.ends_with(kind).then_some((name, at))
        });
        found.unwrap()
    }

    /// Runs the program on this folder.
    fn run(&self, command: &str, more: &[&str]) -> Ran {
        let mut arguments = vec![command, self.0.to_str().unwrap()];
        arguments.extend(more);
        run(&arguments)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// What the program ended with, and what it wrote.
#[derive(Debug)]
struct Ran {
    code: i32,
    out: String,
    error: String,
}

fn run(arguments: &[&str]) -> Ran {
    let output = Command::new(env!("CARGO_BIN_EXE_dhara-log")).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let (out, error) = (text(output.stdout), text(output.stderr));
    Ran { code: output.status.code().unwrap(), out, error }
}

/// Appends a record; gives its offset.
fn append(log: &Log, value: &str) -> u64 {
    let mut batch = BatchBuilder::new();
    batch.push(1_000, None, Some(value.as_bytes()), []).unwrap();
    let ticket = log.append(Append::batch(partition("orders", 0), batch.finish()));
    log.commit_step();
    ticket.wait().unwrap().base_offset()
}

/// Where the frames of a settled file end, as its header says.
fn frames_end(bytes: &[u8]) -> usize {
    let field = bytes.get(40..48).unwrap().try_into().unwrap();
    1024 + usize::try_from(u64::from_le_bytes(field)).unwrap()
}

/// The log has all that the fixture has, and nothing is damaged but what always was.
fn check_everything(folder: &Folder) {
    let log = folder.open();
    assert_eq!(log.report(), &OpenReport::default());
    for (name, number, records, damaged) in [
        ("orders", 0, 75, vec![]),
        ("orders", 1, 87, vec![56]),
        ("orders", 2, 9, vec![]),
        ("visits", 0, 23, vec![]),
    ] {
        let (found, lost) = read_all(&log, &partition(name, number));
        assert_eq!((found.len(), lost), (records, damaged), "{name}/{number}");
    }
    log.close().unwrap();
}

#[test]
fn what_only_looks_changes_nothing_and_tells_everything() {
    let folder = Folder::of_version(2, "look");
    let before = folder.contents();
    let list = folder.run("list", &[]);
    assert_eq!((list.code, list.error.as_str()), (0, ""));
    for told in [
        "topic orders, 3 partitions",
        "aliases: OrderCreated, OrderPaid",
        "grew from 2 partitions, at 31, 34",
        "orders/0: 5 to 80",
        "compacted",
        "owner: the shop",
        "orders/1: committed 70, 18 behind, metadata round 140",
        "weak: visits syncs every 5ms",
    ] {
        assert!(list.out.contains(told), "{told}: {}", list.out);
    }
    let verify = folder.run("verify", &[]);
    assert_eq!(verify.code, 0, "{verify:?}");
    assert!(verify.out.contains("orders/1, offsets 56 to below 57"), "{}", verify.out);
    let stats = folder.run("stats", &[]);
    assert!(stats.out.contains("topic orders: 3 partitions, 172 records"), "{}", stats.out);
    let frames = folder.run("frames", &[]);
    for kind in ["records", "offsets", "notes", "lost", "close", "(old)"] {
        assert!(frames.out.contains(kind), "{kind}");
    }
    assert!(!frames.out.contains("BAD"), "{}", frames.out);
    assert_eq!(folder.run("dump", &["--raw"]).out, frames.out);
    assert_eq!(folder.run("repair", &[]).out, "nothing is to be repaired\n");
    assert_eq!(folder.contents(), before);
    check_everything(&folder);
}

#[test]
fn a_log_of_version_1_is_looked_at_as_well() {
    let folder = Folder::of_version(1, "look");
    let before = folder.contents();
    let verify = folder.run("verify", &[]);
    assert_eq!((verify.code, verify.out.as_str()), (0, "every checksum is right\n"));
    let dump = folder.run("dump", &["orders/1", "--from=18"]);
    assert_eq!(dump.out.lines().count(), 2, "{dump:?}");
    assert!(dump.out.contains("18 1970-01-01T00:00:01.000Z value=value 18"), "{}", dump.out);
    assert_eq!(folder.contents(), before);
}

#[test]
fn records_are_shown_so_that_no_terminal_obeys_them_and_as_json() {
    let folder = Folder::new("dump");
    let log = folder.open();
    log.create_topic("orders", 1).unwrap();
    let mut batch = BatchBuilder::new();
    batch.push(1_000, Some(b"k\x1b[2J"), Some(b"say \"hi\"\n"), [("h", Some(&b"1"[..]))]).unwrap();
    batch.push(2_000, None, Some(b"\xff\x00"), []).unwrap();
    batch.push(3_000, Some(b"gone"), None, []).unwrap();
    let ticket = log.append(Append::batch(partition("orders", 0), batch.finish()));
    log.commit_step();
    ticket.wait().unwrap();
    log.close().unwrap();
    let text = folder.run("dump", &["orders/0"]);
    assert_eq!(
        text.out,
        "0 1970-01-01T00:00:01.000Z key=k\\u{1b}[2J value=say \"hi\"\\n h=1\n\
         1 1970-01-01T00:00:02.000Z value=\\xff\\0\n\
         2 1970-01-01T00:00:03.000Z key=gone no value\n"
    );
    let json = folder.run("dump", &["orders/0", "--json", "--from", "0", "--count", "2"]);
    assert_eq!(
        json.out,
        "{\"offset\":0,\"timestamp\":1000,\"key\":\"k\\u001b[2J\",\"value\":\"say \\\"hi\\\"\\n\",\
         \"headers\":[{\"name\":\"h\",\"value\":\"1\"}]}\n\
         {\"offset\":1,\"timestamp\":2000,\"key\":null,\"valueHex\":\"ff00\",\"headers\":[]}\n"
    );
}

#[test]
fn whoever_asks_for_what_is_not_there_is_told_what_to_do() {
    let help = run(&["--help"]);
    assert_eq!((help.code, help.error.as_str()), (0, ""));
    for command in ["list", "dump", "frames", "verify", "repair", "stats"] {
        assert!(help.out.contains(&format!("dhara-log {command} DIR")), "{command}");
    }
    let empty = Folder::new("empty");
    let folder = Folder::of_version(2, "errors");
    let dir = folder.0.to_str().unwrap();
    for (arguments, told) in [
        (vec![], "no command was given"),
        (vec!["lst", dir], "there is no command \"lst\""),
        (vec!["list"], "the folder of the log is missing"),
        (vec!["list", dir, "more"], "what is more for?"),
        (vec!["list", dir, "--yes"], "--yes"),
        (vec!["dump", dir], "which partition?"),
        (vec!["dump", dir, "orders"], "is no partition"),
        (vec!["dump", dir, "orders/9"], "there is no orders/9"),
        (vec!["dump", dir, "orders/0", "--from", "3"], "it holds offsets from 5 to below 80"),
        (vec!["dump", dir, "orders/0", "--count", "x"], "cannot parse"),
        (vec!["verify", "/nowhere/at/all"], "there is no such folder"),
        (vec!["repair", empty.0.to_str().unwrap()], "holds no log"),
    ] {
        let ran = run(&arguments);
        assert_eq!(ran.code, 2, "{arguments:?}: {ran:?}");
        assert!(ran.error.starts_with("dhara-log: ") && ran.error.contains(told), "{ran:?}");
    }
    assert_eq!(empty.contents(), BTreeMap::new());
}

#[test]
fn a_log_that_is_open_elsewhere_is_left_alone() {
    let folder = Folder::new("locked");
    let log = folder.open();
    let before = folder.contents();
    for command in ["list", "verify", "stats", "frames", "repair"] {
        let ran = folder.run(command, &[]);
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.error.contains("open in another process; stop that process"), "{ran:?}");
    }
    assert_eq!(folder.contents(), before);
    log.close().unwrap();
    assert_eq!(folder.run("list", &[]).out, "no topics\n");
}

#[test]
fn all_that_can_be_repaired_is_told_first_and_then_repaired() {
    let folder = Folder::of_version(2, "repair");
    check_everything(&folder);
    let settled: Vec<_> =
        folder.contents().into_keys().filter(|name| name.ends_with(".settled")).collect();
    let state = folder.find(".state-copy", "OrderPaid").0;
    // A file without holes, whose index can stand in it again.
    let (indexed, at) = folder.find(".settled", "order 141");
    folder.edit(&indexed, |bytes| {
        let end = frames_end(bytes);
        *bytes.get_mut(end + 20).unwrap() ^= 1;
        *bytes.get_mut(512 + 20).unwrap() ^= 1;
    });
    folder.flip(&indexed, at);
    folder.flip(&state, 40);
    let (journal, _) = folder.find(".journal", "order 159");
    folder.flip(&journal, 30);
    let before = folder.contents();
    let verify = folder.run("verify", &[]);
    assert_eq!(verify.code, 1, "{verify:?}");
    for told in [
        format!("{indexed} at 512, 64 bytes: a copy of a settled file's header"),
        format!("{indexed} at {}", frames_end(before.get(&indexed).unwrap())),
        "orders/1, offsets 78 to below 79: a frame whose body is damaged".to_owned(),
        format!("{state} at 0"),
        format!("{journal} at 0, 64 bytes: a copy of the segment's header"),
        "5 damaged places".to_owned(),
    ] {
        assert!(verify.out.contains(&told), "{told}: {}", verify.out);
    }
    let dry = folder.run("repair", &[]);
    assert_eq!(dry.code, 1);
    assert!(dry.out.contains("mark offsets 78 to below 79 as lost"), "{}", dry.out);
    assert!(dry.out.contains("nothing was changed"), "{}", dry.out);
    assert_eq!(folder.contents(), before);
    let done = folder.run("repair", &["--yes"]);
    assert_eq!(done.code, 0, "{done:?}");
    let after = folder.contents();
    let cuts = after.keys().filter(|name| name.ends_with(".cut")).count();
    assert!(cuts >= 5 && done.out.matches("kept ").count() >= 5, "{done:?}");
    let verify = folder.run("verify", &[]);
    assert_eq!(verify.code, 0, "{verify:?}");
    assert!(verify.out.contains("orders/1, offsets 78 to below 79: found damaged before"));
    assert!(settled.iter().all(|name| after.contains_key(name)));
    let log = folder.open();
    assert_eq!(log.report(), &OpenReport::default());
    let (found, lost) = read_all(&log, &partition("orders", 1));
    assert_eq!((found.len(), lost), (86, vec![56, 78]));
    assert_eq!(read_all(&log, &partition("orders", 0)).0.len(), 75);
    assert_eq!(append(&log, "next"), 80);
    assert_eq!(log.damage(), []);
}

#[test]
fn a_settled_file_with_holes_and_a_damaged_index_is_written_again() {
    let folder = Folder::of_version(2, "holes");
    let holed: Vec<_> = folder
        .contents()
        .into_iter()
        .filter(|(name, bytes)| {
            let frames = bytes.get(1024..).unwrap();
            name.ends_with(".settled") && frames.windows(200).any(|window| window == [0; 200])
        })
        .map(|(name, _)| name)
        .collect();
    assert!(!holed.is_empty());
    for name in &holed {
        folder.edit(name, |bytes| {
            let end = frames_end(bytes);
            *bytes.get_mut(end + 20).unwrap() ^= 1;
        });
    }
    let dry = folder.run("repair", &[]);
    assert_eq!(dry.code, 1);
    assert!(dry.out.contains("write the frames of"), "{}", dry.out);
    let done = folder.run("repair", &["--yes"]);
    assert_eq!(done.code, 0, "{done:?}");
    for name in &holed {
        assert!(!folder.contents().contains_key(name));
        assert!(folder.contents().contains_key(&format!("{name}-000000000000.cut")));
    }
    assert_eq!(folder.run("verify", &[]).code, 0);
    check_everything(&folder);
}

#[test]
fn a_torn_tail_is_no_damage_and_a_repair_cuts_and_keeps_it() {
    let folder = Folder::new("torn");
    let log = folder.open();
    log.create_topic("orders", 1).unwrap();
    append(&log, "acked");
    log.mark_step();
    append(&log, "torn");
    drop(log);
    let (journal, at) = folder.find(".journal", "torn");
    folder.flip(&journal, at);
    let before = folder.contents();
    let verify = folder.run("verify", &[]);
    assert_eq!(verify.code, 0, "{verify:?}");
    assert!(verify.out.starts_with("torn: "), "{}", verify.out);
    assert!(folder.run("list", &[]).out.contains("were never acked"));
    let dry = folder.run("repair", &[]);
    assert!(dry.out.contains("would cut"), "{}", dry.out);
    assert_eq!(folder.contents(), before);
    let done = folder.run("repair", &["--yes"]);
    assert_eq!(done.code, 0, "{done:?}");
    let after = folder.contents();
    let kept: Vec<_> = after.iter().filter(|(name, _)| name.ends_with(".cut")).collect();
    assert_eq!(kept.len(), 1);
    assert!(after.get(&journal).unwrap().len() == before.get(&journal).unwrap().len());
    assert_eq!(folder.run("verify", &[]).out, "every checksum is right\n");
    let log = folder.open();
    assert_eq!(log.report(), &OpenReport::default());
    assert_eq!(append(&log, "next"), 1);
}

#[test]
fn damage_in_the_journal_is_told_with_its_offsets_and_cannot_be_repaired() {
    let folder = Folder::of_version(2, "journal");
    let (journal, at) = folder.find(".journal", "order 157");
    folder.flip(&journal, at);
    let verify = folder.run("verify", &[]);
    assert_eq!(verify.code, 1);
    assert!(verify.out.contains("orders/1, offsets 86 to below 87"), "{}", verify.out);
    assert_eq!(folder.run("list", &[]).code, 1);
    let dump = folder.run("dump", &["orders/1", "--from", "85"]);
    assert_eq!(dump.code, 1);
    assert!(dump.out.contains("86 damaged up to below 87"), "{}", dump.out);
    assert!(dump.out.contains("87 "), "{}", dump.out);
    let done = folder.run("repair", &["--yes"]);
    assert_eq!(done.code, 1, "{done:?}");
    assert!(done.out.contains("cannot be repaired"), "{}", done.out);
    let frames = folder.run("frames", &[]);
    assert_eq!(frames.out.matches("BAD BODY").count(), 1, "{}", frames.out);
}

#[test]
fn a_log_whose_states_are_all_damaged_is_told_to_be_so() {
    let folder = Folder::of_version(2, "states");
    for name in folder.contents().into_keys().filter(|name| name.contains(".state")) {
        folder.flip(&name, 50);
    }
    let verify = folder.run("verify", &[]);
    assert_eq!(verify.code, 1, "{verify:?}");
    assert!(verify.out.contains("no state file"), "{}", verify.out);
    assert_eq!(folder.run("list", &[]).code, 2);
    assert_eq!(folder.run("frames", &[]).code, 0);
}
