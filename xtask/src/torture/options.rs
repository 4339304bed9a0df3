//! What the command line of `torture` asks for.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::Outcome;

pub(super) const HELP: &str = "\
cargo xtask torture power-cut|kill [--times N] [--seed S] [--fs ext4|xfs] [--bug NAME]

  power-cut   the file system under the log is shut down under load, and mounted again
  kill        the process that has the log open is killed under load

cargo xtask torture controls

  The log is given bugs on purpose, one after another, and the tests of crashes have to find each.

--times N     how often (20)
--seed S      what follows from chance follows from this number
--fs NAME     the file system of `power-cut`; without it the two take turns
--bug NAME    seed a bug, and fail unless it is found:
                early-ack    positions of groups are acked before they were written
                no-sync      files are not synced
                no-dir-sync  names of files are not synced (XFS syncs them with the file)
";

const BUGS: &[&str] = &["early-ack", "no-sync", "no-dir-sync"];

/// How the log is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    PowerCut,
    Kill,
}

/// A file system that can be shut down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileSystem {
    Ext4,
    Xfs,
}

#[derive(Debug)]
pub(super) struct Options {
    pub(super) way: Way,
    pub(super) times: u32,
    pub(super) seed: u64,
    pub(super) file_system: Option<FileSystem>,
    pub(super) bug: Option<String>,
}

impl Way {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Way::PowerCut => "power-cut",
            Way::Kill => "kill",
        }
    }
}

impl Options {
    pub(super) fn read(arguments: &[String]) -> Outcome<Options> {
        let mut arguments = arguments.iter().map(String::as_str);
        let way = match arguments.next() {
            Some("power-cut") => Way::PowerCut,
            Some("kill") => Way::Kill,
            _ => return Err(format!("say how: `power-cut`, `kill` or `controls`\n\n{HELP}")),
        };
        let mut options = Options { way, times: 20, seed: now(), file_system: None, bug: None };
        while let Some(option) = arguments.next() {
            let value = arguments.next().unwrap_or_default();
            let refused = || format!("`{option} {value}` cannot be\n\n{HELP}");
            match option {
                "--times" => {
                    let times = value.parse().ok().filter(|times| *times > 0);
                    options.times = times.ok_or_else(refused)?;
                }
                "--seed" => options.seed = value.parse().map_err(|_| refused())?,
                "--fs" => {
                    options.file_system = Some(match value {
                        "ext4" => FileSystem::Ext4,
                        "xfs" => FileSystem::Xfs,
                        _ => return Err(refused()),
                    });
                }
                "--bug" if BUGS.contains(&value) => options.bug = Some(value.to_owned()),
                _ => return Err(refused()),
            }
        }
        Ok(options)
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(line: &str) -> Outcome<Options> {
        Options::read(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn what_is_asked_for_is_understood() {
        let options = options("power-cut --times 7 --seed 3 --fs xfs --bug no-sync").unwrap();
        assert_eq!((options.way, options.times, options.seed), (Way::PowerCut, 7, 3));
        assert_eq!(options.file_system, Some(FileSystem::Xfs));
        assert_eq!(options.bug.as_deref(), Some("no-sync"));
    }

    #[test]
    fn nonsense_is_refused() {
        for line in ["", "fire", "kill --times 0", "kill --times", "kill --fs fat", "kill --bug x"]
        {
            assert!(options(line).is_err(), "{line:?} passed");
        }
    }
}
