//! What does not fit gives a compile error that says what is missing.
//!
//! Each file in `tests/ui` is compiled by itself. A comment `//~ text` says that the compiler must
//! report, at this line, an error with that text in its message, its labels or its notes; `//~^
//! text` says so of the line above, `//~? text` of any place. A file without such comments must
//! compile.
//!
//! Only our own words are compared, never the whole output, so that a new version of the compiler
//! changes nothing here. For the same reason, and because it takes a second instead of a build, the
//! files are given to `rustc` itself, with the libraries that were built for this very test.
//! `compiles.rs` must compile: with it the right ones are told from those that lie beside them.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers may fail it"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

#[test]
fn compile_errors_say_what_is_missing() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ui");
    let libraries = Libraries::find(&folder.join("compiles.rs"));
    let mut files: Vec<PathBuf> =
        fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    files.sort();
    let complaints: Vec<String> =
        files.iter().flat_map(|file| complaints(file, &libraries.compile(file))).collect();
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

/// The libraries that a file may use.
struct Libraries {
    folder: PathBuf,
    /// `name=path`, as the compiler takes them.
    external: Vec<String>,
}

impl Libraries {
    /// The newest `dhara` and the `serde` it was built with: those with which `control` compiles.
    fn find(control: &Path) -> Self {
        let folder = std::env::current_exe().unwrap().parent().unwrap().to_owned();
        let mut last = String::new();
        for dhara in newest(&folder, "dhara") {
            for serde in newest(&folder, "serde") {
                let external = vec![format!("dhara={dhara}"), format!("serde={serde}")];
                let libraries = Self { folder: folder.clone(), external };
                let errors = libraries.compile(control);
                if errors.is_empty() {
                    return libraries;
                }
                last = errors.iter().map(|error| format!("{error:?}\n")).collect();
            }
        }
        panic!("{} compiles with no library in {}:\n{last}", control.display(), folder.display());
    }

    /// The errors that the compiler reports.
    fn compile(&self, file: &Path) -> Vec<Report> {
        let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
        let mut command = Command::new(rustc);
        command.args([
            "--edition=2024",
            "--crate-type=bin",
            "--emit=metadata",
            "--cap-lints=allow",
        ]);
        command.args(["--error-format=json", "-o"]).arg(std::env::temp_dir().join(scratch(file)));
        command.arg("-L").arg(format!("dependency={}", self.folder.display()));
        for external in &self.external {
            command.args(["--extern", external]);
        }
        let output = command.arg(file).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let errors: Vec<Report> = text.lines().filter_map(Report::read).collect();
        assert_eq!(errors.is_empty(), output.status.success(), "{text}");
        errors
    }
}

/// Where the compiler's own output goes, which nobody reads.
fn scratch(file: &Path) -> String {
    let stem = file.file_stem().unwrap().to_string_lossy();
    format!("dhara-ui-{}-{stem}.rmeta", std::process::id())
}

/// The built libraries called `name` in `folder`, the newest first.
fn newest(folder: &Path, name: &str) -> Vec<String> {
    let prefix = format!("lib{name}-");
    let mut found: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| {
            let file = entry.file_name().to_string_lossy().into_owned();
            file.starts_with(&prefix) && file.ends_with(".rlib")
        })
        .map(|entry| (entry.metadata().unwrap().modified().unwrap(), entry.path()))
        .collect();
    found.sort();
    found.into_iter().rev().map(|(_, path)| path.display().to_string()).collect()
}

/// One error, as the compiler reports it.
#[derive(Debug)]
struct Report {
    lines: Vec<u64>,
    text: String,
}

impl Report {
    fn read(line: &str) -> Option<Self> {
        let report: Value = serde_json::from_str(line).ok()?;
        if report["level"] != "error" || report["message"].as_str()?.starts_with("aborting") {
            return None;
        }
        let mut read = Self { lines: Vec::new(), text: String::new() };
        read.take(&report);
        Some(read)
    }

    fn take(&mut self, report: &Value) {
        self.say(&report["message"]);
        for span in report["spans"].as_array().into_iter().flatten() {
            self.say(&span["label"]);
            // An error inside what a macro wrote is one at the place that called the macro.
            let mut span = span;
            while span.is_object() {
                self.lines.extend(span["line_start"].as_u64());
                span = &span["expansion"]["span"];
            }
        }
        for child in report["children"].as_array().into_iter().flatten() {
            self.say(&child["message"]);
        }
    }

    fn say(&mut self, text: &Value) {
        self.text.push_str(text.as_str().unwrap_or_default());
        self.text.push('\n');
    }
}

/// What `file` expects of the compiler and did not get.
fn complaints(file: &Path, reports: &[Report]) -> Vec<String> {
    let source = fs::read_to_string(file).unwrap();
    let name = file.file_name().unwrap().to_string_lossy().into_owned();
    let expected: Vec<(Option<u64>, &str)> =
        (1..).zip(source.lines()).filter_map(expected).collect();
    let all: String = reports.iter().map(|report| format!("  {report:?}\n")).collect();
    if expected.is_empty() && !reports.is_empty() {
        return vec![format!("{name} does not compile:\n{all}")];
    }
    let met = |line: Option<u64>, text: &str| {
        reports.iter().any(|report| {
            report.text.contains(text) && line.is_none_or(|line| report.lines.contains(&line))
        })
    };
    let unmet = expected.into_iter().filter(|(line, text)| !met(*line, text));
    unmet.map(|(line, text)| format!("{name}:{line:?}: no error says {text:?}:\n{all}")).collect()
}

/// The expectation that stands in a line, and the number of the line that it speaks of.
fn expected((number, line): (u64, &str)) -> Option<(Option<u64>, &str)> {
    let (_, marked) = line.split_once("//~")?;
    Some(match (marked.strip_prefix('^'), marked.strip_prefix('?')) {
        (Some(text), _) => (Some(number - 1), text.trim()),
        (_, Some(text)) => (None, text.trim()),
        _ => (Some(number), marked.trim()),
    })
}
