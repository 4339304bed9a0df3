//! Other programs: found, run, and their failures told.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::Outcome;

/// Cargo, as this program was started by it, in the workspace's root.
///
/// What cargo told *this* program about its own package is taken out of the environment, so that
/// no build script below is run again because of it.
pub(crate) fn cargo(root: &Path) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.current_dir(root).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        let told = name.to_str().is_some_and(|name| {
            name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
        });
        if told {
            command.env_remove(name);
        }
    }
    command
}

/// Runs `command` with its output shown; an error names it when it fails.
pub(crate) fn run(command: &mut Command) -> Outcome {
    eprintln!("$ {}", line(command));
    let status =
        command.status().map_err(|error| format!("cannot start `{}`: {error}", line(command)))?;
    if status.success() { Ok(()) } else { Err(format!("`{}` ended with {status}", line(command))) }
}

/// Runs `command` and gives what it printed; on failure the error holds what it complained about.
pub(crate) fn read(command: &mut Command) -> Outcome<String> {
    let output = command
        .stderr(Stdio::piped())
        .output()
        .map_err(|error| format!("cannot start `{}`: {error}", line(command)))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        return Err(format!(
            "`{}` ended with {}\n{}",
            line(command),
            output.status,
            complaint.trim_end()
        ));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The first of `names` that stands in a folder of `PATH`.
pub(crate) fn find(names: &[&str]) -> Option<std::path::PathBuf> {
    let folders = std::env::var_os("PATH")?;
    let folders: Vec<_> = std::env::split_paths(&folders).collect();
    names
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)))
        .find(|path| path.is_file())
}

/// The command as one would type it.
pub(crate) fn line(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    std::iter::once(program)
        .chain(command.get_args())
        .map(|part: &OsStr| part.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}
