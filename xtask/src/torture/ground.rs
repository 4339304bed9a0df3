//! Where the log lies, and how the ground is pulled away from under it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::load::Load;
use super::options::{FileSystem, Options, Way};
use crate::Outcome;
use crate::command;

/// The image's length; what is never written takes no space.
const IMAGE_BYTES: u64 = 1 << 30;
/// How often a file system that is busy still is unmounted again, every 20 ms.
const UNMOUNTS: u32 = 250;

/// A place for a log and, on another file system, its history.
pub(super) struct Ground {
    place: PathBuf,
    /// Whether a file system of its own is mounted for the log.
    is_mounted: bool,
    way: Way,
}

impl Ground {
    /// Makes the folder `place`, and mounts a new file system in it where the power will be cut.
    /// The two kinds take turns where the options leave it open.
    pub(super) fn make(options: &Options, place: &Path, number: u32) -> Outcome<Ground> {
        let mut ground = Ground { place: place.to_owned(), is_mounted: false, way: options.way };
        let told = |error: std::io::Error| format!("cannot make {}: {error}", place.display());
        std::fs::create_dir_all(ground.mount_point()).map_err(told)?;
        if options.way == Way::PowerCut {
            let image = File::create_new(ground.image()).map_err(told)?;
            image.set_len(IMAGE_BYTES).map_err(told)?;
            let turn = if number.is_multiple_of(2) { FileSystem::Ext4 } else { FileSystem::Xfs };
            let (program, quiet) = match options.file_system.unwrap_or(turn) {
                FileSystem::Ext4 => ("mkfs.ext4", "-qF"),
                FileSystem::Xfs => ("mkfs.xfs", "-qf"),
            };
            command::read(Command::new(program).arg(quiet).arg(ground.image()))?;
            ground.mount()?;
        }
        Ok(ground)
    }

    fn image(&self) -> PathBuf {
        self.place.join("image")
    }

    fn mount_point(&self) -> PathBuf {
        self.place.join("disk")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.mount_point().join("log")
    }

    pub(super) fn history(&self) -> PathBuf {
        self.place.join("history")
    }

    /// What the load says on its standard error.
    pub(super) fn complaints(&self) -> PathBuf {
        self.place.join("complaints")
    }

    /// Cuts the load off. The power goes with what the file system's own journal holds in memory,
    /// or, every other time, after it was written.
    pub(super) fn cut(&mut self, load: &mut Load, round: u32) -> Outcome {
        if self.way == Way::Kill {
            return load.kill();
        }
        let how = if round.is_multiple_of(2) { "shutdown -f" } else { "shutdown" };
        command::read(Command::new("xfs_io").args(["-x", "-c", how]).arg(self.mount_point()))?;
        load.kill()?;
        self.unmount()?;
        self.mount()
    }

    fn mount(&mut self) -> Outcome {
        let mut mount = Command::new("mount");
        command::read(mount.args(["-o", "loop"]).arg(self.image()).arg(self.mount_point()))?;
        self.is_mounted = true;
        Ok(())
    }

    fn unmount(&mut self) -> Outcome {
        for _ in 0..UNMOUNTS {
            if command::read(Command::new("umount").arg(self.mount_point())).is_ok() {
                self.is_mounted = false;
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(format!("{} stays busy", self.mount_point().display()))
    }

    /// Unmounts, so that the image can be moved or removed.
    pub(super) fn leave(mut self) {
        if self.is_mounted
            && let Err(error) = self.unmount()
        {
            // The namespace takes the mount along in the end.
            eprintln!("{error}");
        }
    }
}
