//! The workspace as `cargo metadata` describes it.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::Outcome;
use crate::command;

/// The packages of the dependency graph, ours among them.
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
    pub(crate) packages: Vec<Package>,
}

/// A package of the graph.
#[derive(Debug, Clone)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) licence: Option<String>,
    /// Whether the package is one of the workspace.
    pub(crate) ours: bool,
    pub(crate) folder: PathBuf,
    pub(crate) dependencies: Vec<Dependency>,
    pub(crate) features: Vec<String>,
    pub(crate) targets: Vec<Target>,
}

/// A line of a package's dependencies.
#[derive(Debug, Clone)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// Only tests, examples and benches see it.
    pub(crate) dev: bool,
}

/// Something that a package builds.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) source: PathBuf,
}

impl Workspace {
    /// Asks cargo, which refuses a `Cargo.lock` that does not fit the manifests.
    pub(crate) fn load() -> Outcome<Workspace> {
        let here = std::env::current_dir()
            .map_err(|error| format!("cannot tell the current folder: {error}"))?;
        let printed = command::read(command::cargo(&here).args([
            "metadata",
            "--format-version=1",
            "--locked",
        ]))?;
        let value: Value = serde_json::from_str(&printed)
            .map_err(|error| format!("cannot read what `cargo metadata` printed: {error}"))?;
        Ok(Workspace::read(&value))
    }

    fn read(value: &Value) -> Workspace {
        let members: Vec<&str> =
            list(value, "workspace_members").iter().filter_map(Value::as_str).collect();
        Workspace {
            root: PathBuf::from(text(value, "workspace_root")),
            target: PathBuf::from(text(value, "target_directory")),
            packages: list(value, "packages")
                .iter()
                .map(|package| Package::read(package, &members))
                .collect(),
        }
    }

    /// The packages of the workspace.
    pub(crate) fn ours(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| package.ours)
    }

    /// Our package of this name.
    pub(crate) fn package(&self, name: &str) -> Outcome<&Package> {
        self.ours()
            .find(|package| package.name == name)
            .ok_or_else(|| format!("the workspace has no package `{name}`"))
    }
}

impl Package {
    fn read(value: &Value, members: &[&str]) -> Package {
        let manifest = PathBuf::from(text(value, "manifest_path"));
        Package {
            name: text(value, "name"),
            version: text(value, "version"),
            licence: value.get("license").and_then(Value::as_str).map(str::to_owned),
            ours: members.contains(&text(value, "id").as_str()),
            folder: manifest.parent().map(Path::to_path_buf).unwrap_or_default(),
            dependencies: list(value, "dependencies")
                .iter()
                .map(|dependency| Dependency {
                    name: text(dependency, "name"),
                    dev: text(dependency, "kind") == "dev",
                })
                .collect(),
            features: value
                .get("features")
                .and_then(Value::as_object)
                .map(|features| features.keys().cloned().collect())
                .unwrap_or_default(),
            targets: list(value, "targets").iter().map(Target::read).collect(),
        }
    }

    /// The targets of one kind: `lib`, `bin`, `test`, `example` ...
    pub(crate) fn targets_of(&self, kind: &str) -> impl Iterator<Item = &Target> {
        self.targets.iter().filter(move |target| target.kind == kind)
    }
}

impl Target {
    fn read(value: &Value) -> Target {
        Target {
            name: text(value, "name"),
            kind: list(value, "kind")
                .first()
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned(),
            source: PathBuf::from(text(value, "src_path")),
        }
    }
}

/// The folder for what may be thrown away.
pub(crate) fn cache() -> Outcome<PathBuf> {
    let from = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    from("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| from("HOME").map(|home| PathBuf::from(home).join(".cache")))
        .map(|cache| cache.join("dhara"))
        .ok_or_else(|| "neither HOME nor XDG_CACHE_HOME is set: say where data may go".to_owned())
}

/// Removes what runs that were killed have left in `parent`: folders named by `prefix` and the id of
/// their process.
pub(crate) fn sweep(parent: &Path, prefix: &str) {
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let of_run = name.to_str().and_then(|name| name.strip_prefix(prefix)?.parse::<u32>().ok());
        if of_run.is_some_and(|id| !Path::new("/proc").join(id.to_string()).exists()) {
            // Left over it takes space in a cache, and is tried again the next time.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

fn text(value: &Value, member: &str) -> String {
    value.get(member).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn list<'a>(value: &'a Value, member: &str) -> &'a [Value] {
    value.get(member).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}
