//! What the chores need besides Rust's compiler, and how it is brought.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::command;

/// A program that some chore needs.
pub(crate) struct Tool {
    /// The names under which it may stand in `PATH`.
    pub(crate) programs: &'static [&'static str],
    /// Debian's package of it.
    pub(crate) package: &'static str,
}

/// The tests of the page drive it themselves, over its own protocol.
pub(crate) const CHROMIUM: Tool = Tool {
    programs: &["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"],
    package: "chromium",
};

/// Shuts a file system down in the middle of its work.
pub(crate) const XFS_IO: Tool = Tool { programs: &["xfs_io"], package: "xfsprogs" };
pub(crate) const MKFS_EXT4: Tool = Tool { programs: &["mkfs.ext4"], package: "e2fsprogs" };
pub(crate) const MKFS_XFS: Tool = Tool { programs: &["mkfs.xfs"], package: "xfsprogs" };
/// Mounts in a namespace of its own, which nobody has to clean up.
pub(crate) const UNSHARE: Tool = Tool { programs: &["unshare"], package: "util-linux" };
pub(crate) const MOUNT: Tool = Tool { programs: &["mount"], package: "mount" };

impl Tool {
    /// Makes sure that the tool is there; the error says what to install.
    pub(crate) fn bring(&self) -> Outcome {
        if command::find(self.programs).is_some() {
            return Ok(());
        }
        let wanted = format!(
            "none of {} is in PATH: install the package `{}`",
            self.programs.join(", "),
            self.package
        );
        if !can_install() {
            return Err(wanted);
        }
        apt_get(&["update"])
            .and_then(|()| apt_get(&["install", "--yes", "--no-install-recommends", self.package]))
            .map_err(|error| format!("{error}\n{wanted}"))?;
        command::find(self.programs).map(|_| ()).ok_or(wanted)
    }
}

/// Only root may install, and only where Debian's package manager is.
fn can_install() -> bool {
    is_root() && command::find(&["apt-get"]).is_some()
}

/// Whether this program may do everything.
pub(crate) fn is_root() -> bool {
    command::read(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}

fn apt_get(arguments: &[&str]) -> Outcome {
    command::run(
        Command::new("apt-get")
            .args(["-o", "DPkg::Lock::Timeout=120", "--quiet"])
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null()),
    )
}

/// Makes sure that `cargo SUBCOMMAND` works, which the toolchain's `component` brings.
pub(crate) fn component(subcommand: &str, component: &str) -> Outcome {
    let works = |root: &Path| command::read(command::cargo(root).args([subcommand, "--version"]));
    if works(Path::new(".")).is_ok() {
        return Ok(());
    }
    let wanted = format!("`cargo {subcommand}` is missing: rustup component add {component}");
    command::run(Command::new("rustup").args(["component", "add", component]))
        .map_err(|_| wanted.clone())?;
    works(Path::new(".")).map(|_| ()).map_err(|_| wanted)
}

/// Makes sure that there is a nightly toolchain, which is for the user to choose and to install.
pub(crate) fn has_nightly() -> Outcome {
    let version = command::read(Command::new("rustup").args(["run", "nightly", "rustc", "-V"]));
    version.map(drop).map_err(|_| {
        "there is no nightly toolchain: rustup toolchain install nightly --profile minimal \
         --component miri,rust-src"
            .to_owned()
    })
}

/// `cargo SUBCOMMAND` of the nightly toolchain, in a folder.
pub(crate) fn nightly(folder: &Path, subcommand: &str) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", "cargo", subcommand]).current_dir(folder).stdin(Stdio::null());
    // What the cargo that runs us told us of itself is not true of the other one.
    for name in ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN"] {
        command.env_remove(name);
    }
    command
}

/// Runs `command` and stops it when it has not ended within `limit`.
pub(crate) fn run_within(command: &mut Command, limit: Duration) -> Outcome {
    let shown = command::line(command);
    eprintln!("$ {shown}");
    let mut child = command
        .stdin(Stdio::null())
        .spawn()
        .map_err(|error| format!("cannot start `{shown}`: {error}"))?;
    let began = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(format!("`{shown}` ended with {status}")),
            Ok(None) if began.elapsed() < limit => std::thread::sleep(Duration::from_millis(20)),
            Ok(None) => {
                // It may have ended since; then there is nothing left to stop.
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!(
                    "`{shown}` did not end within {limit:?}: give it an end, or list it as one that serves"
                ));
            }
            Err(error) => return Err(format!("cannot await `{shown}`: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_hangs_is_stopped_and_named() {
        let said =
            run_within(Command::new("sleep").arg("60"), Duration::from_millis(50)).unwrap_err();
        assert!(said.starts_with("`sleep 60` did not end within"), "{said}");
    }

    #[test]
    fn a_missing_tool_is_named_with_its_package() {
        assert!(command::find(&["no-such-program-anywhere"]).is_none());
        assert!(command::find(&["sh"]).is_some());
    }
}
