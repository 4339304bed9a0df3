//! Which module of a crate may import which.

use std::path::Path;

use super::imports::{Import, Source};

/// The rules of one crate.
pub(super) struct Rules {
    pub(super) package: &'static str,
    /// The root's modules, each seeing only those before it; empty where no order is kept.
    order: &'static [&'static str],
    /// Folders whose modules never import each other.
    apart: &'static [Apart],
    /// Paths that may not be named outside tests.
    closed: &'static [Closed],
}

/// Modules below `inside` that never import each other.
struct Apart {
    inside: &'static str,
    /// Which they are; all of them when empty.
    modules: &'static [&'static str],
    why: &'static str,
}

/// A path that may not be named.
struct Closed {
    paths: &'static [&'static str],
    /// Modules that may name it all the same, each with the reason.
    open: &'static [(&'static str, &'static str)],
    why: &'static str,
}

/// What a simulation must own is reached through one crate.
const WORLD: Closed = Closed {
    paths: &[
        "std::fs",
        "std::thread",
        "std::time::Instant",
        "std::time::SystemTime",
        "tokio::fs",
        "tokio::spawn",
        "tokio::task::JoinSet",
        "tokio::task::spawn",
        "tokio::task::spawn_blocking",
        "tokio::task::spawn_local",
        "tokio::time",
    ],
    open: &[
        ("committer", "the thread is an adapter round the log, which can be stepped without one"),
        ("sync", "gives the committer its threads: the system's, or a model checker's"),
        ("store::sqlite", "SQLite reaches the disk by itself; its folder is made beside it"),
        ("testing", "what checks a back end drives it from outside"),
    ],
    why: "time, randomness, ids, tasks and the disk come through crates/world, so that a simulation can own them",
};

/// Every crate with rules for its modules.
pub(super) const RULES: &[Rules] = &[
    Rules {
        package: "dhara",
        order: &["answer", "event", "broker", "store", "service", "patterns", "observe", "testing"],
        apart: &[
            Apart {
                inside: "broker",
                modules: &["mem", "file", "kafka", "amqp", "sqs", "redis"],
                why: "back ends never import each other",
            },
            Apart {
                inside: "store",
                modules: &["sqlite", "postgres"],
                why: "back ends never import each other",
            },
        ],
        closed: &[WORLD],
    },
    Rules { package: "dhara-log", order: &[], apart: &[], closed: &[WORLD] },
    Rules {
        package: "shop",
        order: &[],
        apart: &[Apart {
            inside: "services",
            modules: &[],
            why: "a service knows no other service: they share event types only",
        }],
        closed: &[],
    },
];

/// What is wrong with the imports of a crate; paths are shown from `root`.
pub(super) fn complaints(rules: &Rules, source: &Source, root: &Path) -> Vec<String> {
    let mut complaints = Vec::new();
    for module in &source.modules {
        if !rules.order.is_empty() && !rules.order.contains(&module.as_str()) {
            complaints.push(format!(
                "{}: the module `{module}` is not in the order of modules: give it a place in {}",
                rules.package,
                file!()
            ));
        }
    }
    for import in &source.imports {
        if let Some(rule) = broken(rules, source, import) {
            let file = import.file.strip_prefix(root).unwrap_or(&import.file);
            complaints.push(format!(
                "{}:{}: `{}` imports `{}`: {rule}",
                file.display(),
                import.line,
                import.from.join("::"),
                import.path.join("::")
            ));
        }
    }
    complaints
}

/// The rule that `import` breaks.
fn broken(rules: &Rules, source: &Source, import: &Import) -> Option<String> {
    closed(rules, import).or_else(|| {
        let path = through_root(source, &import.path)?;
        wrong_order(rules, source, import, &path).or_else(|| not_apart(rules, import, &path))
    })
}

fn closed(rules: &Rules, import: &Import) -> Option<String> {
    let named = import.path.join("::");
    rules
        .closed
        .iter()
        .filter(|closed| {
            let from = import.from.join("::");
            !closed.open.iter().any(|(module, _)| is_below(&from, module))
        })
        .find(|closed| closed.paths.iter().any(|path| is_below(&named, path)))
        .map(|closed| closed.why.to_owned())
}

/// Whether `path` is `above` or stands below it.
fn is_below(path: &str, above: &str) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// The names after `crate`, with what the root re-exports replaced by where it stands; none for
/// a path into another crate.
fn through_root(source: &Source, path: &[String]) -> Option<Vec<String>> {
    let (start, rest) = path.split_first()?;
    if start != "crate" {
        return None;
    }
    let Some((name, after)) = rest.split_first() else { return Some(Vec::new()) };
    if source.modules.contains(name) {
        return Some(rest.to_vec());
    }
    if let Some((_, written)) = source.macros.iter().find(|(exported, _)| exported == name) {
        return Some([written.as_slice(), rest].concat());
    }
    let Some((_, stands_for)) = source.aliases.iter().find(|(alias, _)| alias == name) else {
        return Some(rest.to_vec());
    };
    match stands_for.split_first() {
        Some((first, inner)) if first == "crate" => Some([inner, after].concat()),
        Some((first, _)) if source.modules.contains(first) => Some([stands_for, after].concat()),
        _ => None,
    }
}

fn wrong_order(rules: &Rules, source: &Source, import: &Import, path: &[String]) -> Option<String> {
    let from = import.from.first()?;
    let here = place(rules, from)?;
    let Some(to) = path.first().filter(|name| source.modules.contains(name)) else {
        return Some(
            "what comes by way of the crate's root hides its module: name the module".to_owned(),
        );
    };
    (place(rules, to)? > here).then(|| {
        format!("an earlier module never imports a later one: {}", rules.order.join(" -> "))
    })
}

fn place(rules: &Rules, module: &str) -> Option<usize> {
    rules.order.iter().position(|name| *name == module)
}

fn not_apart(rules: &Rules, import: &Import, path: &[String]) -> Option<String> {
    let apart = rules.apart.iter().find(|apart| {
        let inside = import.from.first().is_some_and(|module| module == apart.inside);
        inside && import.from.get(1).is_some_and(|module| apart.holds(module))
    })?;
    if path.first().is_some_and(|module| module != apart.inside) {
        return None;
    }
    match path.get(1) {
        Some(to) if Some(to) == import.from.get(1) => None,
        Some(to) if to != "*" && !apart.holds(to) => None,
        Some(to) if to != "*" => Some(apart.why.to_owned()),
        _ => Some(format!("{}; this import hides which it means", apart.why)),
    }
}

impl Apart {
    fn holds(&self, module: &str) -> bool {
        self.modules.is_empty() || self.modules.contains(&module)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(path: &str) -> Vec<String> {
        path.split("::").filter(|name| !name.is_empty()).map(str::to_owned).collect()
    }

    /// What is said when the module `from` of `package` names `path`.
    fn said(package: &str, from: &str, path: &str) -> String {
        let rules = RULES.iter().find(|rules| rules.package == package).unwrap();
        let modules = ["answer", "event", "broker", "store", "service", "services", "events"];
        let source = Source {
            imports: vec![Import {
                from: names(from),
                path: names(path),
                file: "src/a.rs".into(),
                line: 7,
            }],
            modules: modules
                .map(str::to_owned)
                .into_iter()
                .filter(|name| package == "shop" || name != "services" && name != "events")
                .collect(),
            aliases: vec![
                ("Service".to_owned(), names("service::Service")),
                ("world".to_owned(), names("dhara_world")),
            ],
            macros: vec![("for_each_check".to_owned(), names("service::checks"))],
        };
        complaints(rules, &source, Path::new("/root")).join("\n")
    }

    #[test]
    fn a_later_module_may_import_an_earlier_one() {
        assert_eq!(said("dhara", "service::lane", "crate::store::Tx"), "");
        assert_eq!(said("dhara", "event", "crate::answer::Answer"), "");
        assert_eq!(said("dhara", "", "crate::service::Service"), "", "the root is above all");
    }

    #[test]
    fn an_earlier_module_that_imports_a_later_one_is_shown_with_file_line_and_rule() {
        let said = said("dhara", "event", "crate::broker::Message");
        assert_eq!(
            said,
            "src/a.rs:7: `event` imports `crate::broker::Message`: an earlier module never imports \
             a later one: answer -> event -> broker -> store -> service -> patterns -> observe -> testing"
        );
    }

    #[test]
    fn a_re_export_at_the_root_is_no_way_round() {
        assert!(said("dhara", "broker", "crate::Service").contains("never imports a later one"));
        assert!(said("dhara", "broker", "crate::*").contains("name the module"));
        assert!(said("dhara", "broker", "crate").contains("name the module"));
        assert_eq!(said("dhara", "broker", "crate::world::World"), "");
        assert!(said("dhara", "broker", "crate::for_each_check").contains("never imports a later"));
        assert_eq!(said("dhara", "service", "crate::for_each_check"), "");
    }

    #[test]
    fn back_ends_never_import_each_other() {
        assert!(said("dhara", "broker::mem", "crate::broker::file::Log").contains("back ends"));
        assert!(said("dhara", "broker::mem", "crate::broker::*").contains("hides which"));
        assert_eq!(said("dhara", "broker::mem", "crate::broker::Message"), "");
        assert_eq!(said("dhara", "broker::mem::group", "crate::broker::mem::Topic"), "");
    }

    #[test]
    fn a_service_of_the_shop_imports_no_other() {
        let payment = said("shop", "services::payment", "crate::services::order::Order");
        assert!(payment.contains("a service knows no other service"), "{payment}");
        assert!(!said("shop", "services::payment", "crate::services::*").is_empty());
        assert_eq!(said("shop", "services::payment::bank", "crate::services::payment::Bank"), "");
        assert_eq!(said("shop", "services::payment", "crate::events::OrderCreated"), "");
        assert_eq!(said("shop", "services", "crate::services::order::start"), "");
    }

    #[test]
    fn the_clock_and_the_disk_are_reached_through_the_world_alone() {
        assert!(said("dhara-log", "segment", "std::fs::File").contains("crates/world"));
        assert!(said("dhara", "service", "tokio::time::sleep").contains("crates/world"));
        assert_eq!(said("dhara", "service", "std::time::Duration"), "");
        assert_eq!(said("dhara", "service", "tokio::timer"), "", "only whole names count");
        assert_eq!(said("dhara-log", "committer", "std::thread::Builder"), "");
        assert!(!said("dhara-log", "committers", "std::thread::Builder").is_empty());
    }
}
