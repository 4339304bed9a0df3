//! Which crate may depend on which.

use std::path::Path;

use crate::workspace::Package;

/// The crates, each seeing only those before it.
const ROOMS: &[&str] = &[
    "dhara-world",
    "dhara-wire",
    "dhara-log",
    "dhara-server",
    "dhara-derive",
    "dhara",
    "dhara-console",
    "dhara-cli",
    "shop",
    "shop-load",
    "xtask",
];

/// What a crate may not see, although its place in the list would let it.
const NARROWER: &[Narrower] = &[
    Narrower {
        of: "dhara-derive",
        sees: &[],
        why: "the derive macros write code, and call none of ours",
    },
    Narrower {
        of: "dhara-wire",
        sees: &[],
        why: "the codec turns bytes into structs, and does nothing else",
    },
    Narrower { of: "dhara-log", sees: &["dhara-world"], why: "the log knows no protocol" },
    Narrower {
        of: "shop",
        sees: &["dhara"],
        why: "the shop sees the framework's public API alone, and so is the honest test of it",
    },
    Narrower { of: "shop-load", sees: &[], why: "the load generator is an outside client" },
    Narrower { of: "xtask", sees: &[], why: "the chores are built before everything else" },
];

/// Crates of others that a crate may not use.
const FOREIGN: &[Foreign] = &[
    Foreign {
        of: "dhara-log",
        not: &["tokio", "futures-util", "axum", "hyper"],
        why: "the log is a state machine without async",
    },
    Foreign {
        of: "dhara-wire",
        not: &["tokio", "futures-util", "hyper"],
        why: "the codec does no I/O",
    },
];

struct Narrower {
    of: &'static str,
    sees: &'static [&'static str],
    why: &'static str,
}

struct Foreign {
    of: &'static str,
    not: &'static [&'static str],
    why: &'static str,
}

/// What is wrong with the dependencies of `packages`, which are all of ours; paths are shown from `root`.
pub(super) fn complaints(packages: &[Package], root: &Path) -> Vec<String> {
    let ours: Vec<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    let mut complaints = Vec::new();
    for package in packages {
        let Some(place) = place(&package.name) else {
            complaints.push(format!(
                "{}: a crate that is not in the list of rooms: give it a place in {}",
                package.name,
                file!()
            ));
            continue;
        };
        // What only tests see is not shipped, but a cycle through it is a knot all the same.
        // On itself a crate depends to give its tests one of its features.
        for dependency in package.dependencies.iter().filter(|other| other.name != package.name) {
            let name = dependency.name.as_str();
            let broken = if ours.contains(&name) {
                wrong_way(package, place, name)
            } else {
                foreign(package, name)
            };
            let kind = if dependency.dev { "dev-depends" } else { "depends" };
            let manifest = package.folder.join("Cargo.toml");
            let manifest = manifest.strip_prefix(root).unwrap_or(&manifest).display();
            complaints.extend(
                broken.map(|rule| {
                    format!("{manifest}: `{}` {kind} on `{name}`: {rule}", package.name)
                }),
            );
        }
    }
    complaints
}

/// The crates of others that one of ours depends on, and for which `reasons` has no line.
pub(super) fn without_reason(packages: &[Package], reasons: &str) -> Vec<String> {
    let ours: Vec<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    let mut names: Vec<&str> = packages
        .iter()
        .flat_map(|package| &package.dependencies)
        .map(|dependency| dependency.name.as_str())
        .filter(|name| !ours.contains(name) && !reasons.contains(&format!("`{name}`")))
        .collect();
    names.sort_unstable();
    names.dedup();
    let told = |name| format!("ARCHITECTURE.md: no line tells why `{name}` is a dependency");
    names.into_iter().map(told).collect()
}

/// The crates that `reasons` has a row for, and that none of ours depends on.
pub(super) fn without_use(packages: &[Package], reasons: &str) -> Vec<String> {
    let (_, table) = reasons.split_once("\n## Dependencies\n").unwrap_or_default();
    let used = |name: &str| {
        packages.iter().flat_map(|package| &package.dependencies).any(|other| other.name == name)
    };
    table
        .lines()
        .filter_map(|row| row.strip_prefix("| `")?.split_once('`'))
        .map(|(name, _)| name)
        .filter(|name| !used(name))
        .map(|name| {
            format!("ARCHITECTURE.md: a line tells why `{name}` is a dependency: it is none")
        })
        .collect()
}

fn wrong_way(package: &Package, place: usize, name: &str) -> Option<String> {
    if self::place(name).is_some_and(|other| other >= place) {
        return Some(format!("a crate sees only those before it in {}", ROOMS.join(", ")));
    }
    let narrower = NARROWER.iter().find(|narrower| narrower.of == package.name)?;
    (!narrower.sees.contains(&name)).then(|| narrower.why.to_owned())
}

fn foreign(package: &Package, name: &str) -> Option<String> {
    FOREIGN
        .iter()
        .find(|foreign| foreign.of == package.name && foreign.not.contains(&name))
        .map(|foreign| foreign.why.to_owned())
}

fn place(name: &str) -> Option<usize> {
    ROOMS.iter().position(|room| *room == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Dependency;

    fn package(name: &str, dependencies: &[&str]) -> Package {
        Package {
            name: name.into(),
            version: "0.1.0".into(),
            licence: None,
            ours: true,
            folder: name.into(),
            dependencies: dependencies
                .iter()
                .map(|name| Dependency { name: (*name).into(), dev: false })
                .collect(),
            features: Vec::new(),
            targets: Vec::new(),
        }
    }

    /// The complaints about a workspace of these packages, each with its dependencies.
    fn said(packages: &[(&str, &[&str])]) -> String {
        let packages: Vec<_> =
            packages.iter().map(|(name, dependencies)| package(name, dependencies)).collect();
        complaints(&packages, Path::new("")).join("\n")
    }

    #[test]
    fn a_later_crate_may_see_an_earlier_one() {
        let said = said(&[
            ("dhara-world", &[]),
            ("dhara", &["dhara-world", "tokio"]),
            ("shop", &["dhara"]),
        ]);
        assert_eq!(said, "");
    }

    #[test]
    fn an_earlier_crate_sees_no_later_one() {
        let said = said(&[("dhara-log", &["dhara"]), ("dhara", &[])]);
        assert!(
            said.starts_with(
                "dhara-log/Cargo.toml: `dhara-log` depends on `dhara`: a crate sees only"
            ),
            "{said}"
        );
    }

    #[test]
    fn the_shop_sees_the_framework_alone() {
        let said = said(&[("dhara-log", &[]), ("dhara", &[]), ("shop", &["dhara", "dhara-log"])]);
        assert!(said.contains("public API alone"), "{said}");
    }

    #[test]
    fn the_log_knows_no_protocol_and_no_runtime() {
        let said = said(&[("dhara-wire", &[]), ("dhara-log", &["dhara-wire", "tokio"])]);
        assert!(said.contains("knows no protocol"), "{said}");
        assert!(said.contains("without async"), "{said}");
    }

    #[test]
    fn each_foreign_crate_has_its_reason() {
        let packages =
            [package("dhara", &["tokio", "serde"]), package("shop", &["dhara", "tokio"])];
        let said = without_reason(&packages, "| `serde` | JSON |");
        assert_eq!(said, ["ARCHITECTURE.md: no line tells why `tokio` is a dependency"]);
    }

    #[test]
    fn a_reason_for_what_nobody_uses_is_named() {
        let packages = [package("dhara", &["tokio"])];
        let reasons = "| `lexer` | no row of ours |\n\n## Dependencies\n\n| crate | why |\n\
                       | `syn` | reads Rust |\n| `tokio` | the runtime |\n";
        let said = without_use(&packages, reasons);
        assert_eq!(said, ["ARCHITECTURE.md: a line tells why `syn` is a dependency: it is none"]);
    }

    #[test]
    fn a_crate_without_a_place_is_named() {
        assert!(
            said(&[("dhara-extra", &[])])
                .starts_with("dhara-extra: a crate that is not in the list")
        );
    }
}
