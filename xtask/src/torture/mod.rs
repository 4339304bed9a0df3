//! `cargo xtask torture`: the log is cut off in the middle of its work, again and again, and what
//! it left is held against what it promised.
//!
//! The load and the check are an example of `crates/log`; here is who cuts it off.

mod ground;
mod load;
mod options;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::command::{self, cargo};
use crate::test::CONTROLS;
use crate::tools::{self, MKFS_EXT4, MKFS_XFS, MOUNT, UNSHARE, XFS_IO};
use crate::workspace::{Workspace, cache, sweep};
use ground::Ground;
use load::{Found, Load};
use options::Options;
pub(crate) use options::Way;

/// Set where the mounts are seen by nobody else.
const INSIDE: &str = "DHARA_TORTURE_INSIDE";
/// Rounds after which the log is begun anew, so that checking all of it stays quick.
const LIFE: u32 = 25;

pub(crate) fn run(arguments: &[String]) -> Outcome {
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        print!("{}", options::HELP);
        return Ok(());
    }
    if arguments == ["controls"] {
        let workspace = Workspace::load()?;
        let mut command = cargo(&workspace.root);
        command.args(["test", "--locked", "--package=dhara-log", "--test=sabotage"]);
        return command::run(command.args(CONTROLS).args(["--", "--nocapture"]));
    }
    let options = Options::read(arguments)?;
    if options.way == Way::PowerCut && std::env::var_os(INSIDE).is_none() {
        return in_own_namespace(arguments);
    }
    let mut torture = Torture::prepare(options)?;
    let outcome = torture.run();
    // What a failed round left was moved away before.
    let _ = std::fs::remove_dir_all(&torture.folder);
    outcome
}

/// Makes sure that the log can be cut off in this way; the error says what is missing.
pub(crate) fn bring(way: Way) -> Outcome {
    if way == Way::Kill {
        return Ok(());
    }
    if !tools::is_root() {
        return Err("only root can mount and shut down file systems: run this as root".to_owned());
    }
    [UNSHARE, MOUNT, XFS_IO, MKFS_EXT4, MKFS_XFS].iter().try_for_each(tools::Tool::bring)
}

/// Runs this program again where its mounts vanish with its last process, however it ends.
fn in_own_namespace(arguments: &[String]) -> Outcome {
    bring(Way::PowerCut)?;
    let program = std::env::current_exe()
        .map_err(|error| format!("cannot tell which program this is: {error}"))?;
    command::run(
        Command::new("unshare")
            .args(["--mount", "--propagation", "private"])
            .arg(program)
            .arg("torture")
            .args(arguments)
            .env(INSIDE, "1"),
    )
}

/// A run of many rounds.
struct Torture {
    options: Options,
    program: PathBuf,
    /// All that the run writes lies here.
    folder: PathBuf,
    random: Random,
    torn: u64,
    /// What the last checks of all logs found.
    total: Found,
}

/// When a round is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// While the log is opened and checked.
    Opening,
    Load,
    /// While the log is closed, or right after.
    Closing,
}

impl Torture {
    fn prepare(options: Options) -> Outcome<Torture> {
        let workspace = Workspace::load()?;
        command::run(cargo(&workspace.root).args([
            "build",
            "--release",
            "--locked",
            "--quiet",
            "--package=dhara-log",
            "--example=torture",
        ]))?;
        let program = workspace.target.join("release/examples/torture");
        let parent = cache()?.join("torture");
        let folder = parent.join(format!("run-{}", std::process::id()));
        sweep(&parent, "run-");
        std::fs::create_dir_all(&folder)
            .map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
        let random = Random(options.seed);
        Ok(Torture { options, program, folder, random, torn: 0, total: Found::default() })
    }

    fn run(&mut self) -> Outcome {
        let began = Instant::now();
        let mut round = 0;
        // A short run has two lives as well: one on each file system.
        let life = LIFE.min(self.options.times.div_ceil(2));
        for number in 0.. {
            let last = self.options.times.min(round + life);
            if round == last {
                break;
            }
            if let Err(violation) = self.live(number, round + 1, last) {
                return self.judge(violation);
            }
            round = last;
        }
        if let Some(bug) = &self.options.bug {
            return Err(format!("{round} rounds did not find the bug `{bug}`"));
        }
        println!(
            "{round} times {}: {} acked appends kept, {} records as they were given, {} rightly \
             gone, {} settled files, {} torn tails cut, nothing wrong; {:.0} s, seed {}",
            self.options.way.name(),
            self.total.acked,
            self.total.records,
            self.total.gone,
            self.total.settled,
            self.torn,
            began.elapsed().as_secs_f64(),
            self.options.seed
        );
        Ok(())
    }

    /// A violation is the aim where a bug was seeded.
    fn judge(&self, violation: String) -> Outcome {
        match &self.options.bug {
            Some(bug) => {
                println!("the bug `{bug}` was found:\n{violation}");
                Ok(())
            }
            None => Err(format!("{violation}\nseed {}", self.options.seed)),
        }
    }

    /// The rounds from `first` to `last` on one log, and a check of what is left in the end.
    fn live(&mut self, number: u32, first: u32, last: u32) -> Outcome {
        let place = self.folder.join(format!("life-{number}"));
        let mut ground = Ground::make(&self.options, &place, number)?;
        let lived = (first..=last)
            .try_for_each(|round| {
                self.round(&mut ground, round).map_err(|error| format!("round {round}: {error}"))
            })
            .and_then(|()| {
                let found = self.start(&ground, last + 1, &["--check"])?.checked()?;
                self.total.acked += found.acked;
                self.total.records += found.records;
                self.total.gone += found.gone;
                self.total.settled += found.settled;
                Ok(())
            });
        ground.leave();
        if let Err(error) = lived {
            if self.options.bug.is_some() {
                return Err(error);
            }
            let kept = self.keep(&place)?;
            return Err(format!("{error}\nthe log and its history are kept in {}", kept.display()));
        }
        std::fs::remove_dir_all(&place)
            .map_err(|error| format!("cannot remove {}: {error}", place.display()))
    }

    fn round(&mut self, ground: &mut Ground, round: u32) -> Outcome {
        let moment = match self.random.below(8) {
            0 => Moment::Opening,
            1 => Moment::Closing,
            _ => Moment::Load,
        };
        let mut load = self.start(ground, round, &[])?;
        match moment {
            Moment::Opening => self.sleep(30_000),
            Moment::Load | Moment::Closing => {
                let found: Found = load.ready()?;
                self.torn += found.torn;
                self.sleep(160_000);
            }
        }
        if moment == Moment::Closing {
            load.stop()?;
            self.sleep(4_000);
        } else {
            load.still_runs()?;
        }
        ground.cut(&mut load, round)?;
        // A check that the cut broke off could say anything; the next one says what it left.
        if moment == Moment::Opening { Ok(()) } else { load.ended_by_the_cut() }
    }

    fn start(&self, ground: &Ground, round: u32, more: &[&str]) -> Outcome<Load> {
        let mut command = Command::new(&self.program);
        command
            .arg(ground.log())
            .arg(ground.history())
            .args([self.options.seed.to_string(), round.to_string()])
            .args(more);
        if let Some(bug) = &self.options.bug {
            command.args(["--bug", bug]);
        }
        Load::start(command, &ground.complaints())
    }

    /// Sleeps for less than so many microseconds.
    fn sleep(&mut self, most: u64) {
        std::thread::sleep(Duration::from_micros(self.random.below(most)));
    }

    /// Puts aside what a failed round left.
    fn keep(&self, place: &Path) -> Outcome<PathBuf> {
        let name = format!("kept-{}-{}", self.options.way.name(), self.options.seed);
        let kept = self.folder.with_file_name(name);
        let _ = std::fs::remove_dir_all(&kept);
        std::fs::rename(place, &kept)
            .map_err(|error| format!("cannot rename {}: {error}", place.display()))?;
        Ok(kept)
    }
}

/// SplitMix64: a seed gives the same moments, if not the same races.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound.max(1)
    }
}
