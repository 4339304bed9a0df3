//! Which licences the dependencies may have.
//!
//! `cargo deny` answers the same question and more, but takes longer to build on two cores than
//! all our checks take to run. The question is small: is the licence expression of each package in
//! the graph satisfied by the list below?

use crate::Outcome;
use crate::workspace::{Package, Workspace};

/// What a user of a program with our code in it can fulfil by naming its authors, or by nothing.
const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Checks every package of the graph, those of other platforms included.
pub(crate) fn check(workspace: &Workspace) -> Outcome {
    let complaints: Vec<String> = workspace.packages.iter().filter_map(complaint).collect();
    if !complaints.is_empty() {
        return Err(complaints.join("\n"));
    }
    println!("{} packages, each under a licence of the list", workspace.packages.len());
    Ok(())
}

fn complaint(package: &Package) -> Option<String> {
    let name = format!("{} {}", package.name, package.version);
    let Some(expression) = &package.licence else {
        return Some(format!("{name} states no licence: use another package"));
    };
    match satisfied(expression) {
        Ok(true) => None,
        Ok(false) => Some(format!(
            "{name} is under `{expression}`, which the list in xtask/src/licences.rs does not allow"
        )),
        Err(reason) => Some(format!("{name} has the licence `{expression}`: {reason}")),
    }
}

/// Whether the list allows a choice that `expression` leaves open.
fn satisfied(expression: &str) -> Result<bool, String> {
    // Older packages write `MIT/Apache-2.0` and mean OR.
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let mut words = spaced.split_whitespace().peekable();
    let answer = either(&mut words)?;
    match words.next() {
        None => Ok(answer),
        Some(word) => Err(format!("`{word}` stands where the expression should end")),
    }
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn either(words: &mut Words<'_>) -> Result<bool, String> {
    let mut answer = both(words)?;
    while words.next_if_eq(&"OR").is_some() {
        answer |= both(words)?;
    }
    Ok(answer)
}

fn both(words: &mut Words<'_>) -> Result<bool, String> {
    let mut answer = single(words)?;
    while words.next_if_eq(&"AND").is_some() {
        answer &= single(words)?;
    }
    Ok(answer)
}

fn single(words: &mut Words<'_>) -> Result<bool, String> {
    let word = words.next().ok_or("the expression ends too early")?;
    if word == "(" {
        let answer = either(words)?;
        words.next_if_eq(&")").ok_or("a parenthesis is not closed")?;
        return Ok(answer);
    }
    if matches!(word, ")" | "AND" | "OR" | "WITH") {
        return Err(format!("`{word}` stands where a licence should"));
    }
    if words.next_if_eq(&"WITH").is_none() {
        return Ok(ALLOWED.contains(&word));
    }
    let exception = words.next().ok_or("an exception is missing after WITH")?;
    Ok(ALLOWED.contains(&format!("{word} WITH {exception}").as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_allowed_choice_is_enough() {
        assert_eq!(satisfied("GPL-3.0-only OR MIT"), Ok(true));
        assert_eq!(satisfied("MIT/GPL-2.0"), Ok(true));
        assert_eq!(satisfied("Apache-2.0 WITH LLVM-exception OR GPL-2.0"), Ok(true));
    }

    #[test]
    fn all_of_a_conjunction_must_be_allowed() {
        assert_eq!(satisfied("MIT AND BSD-3-Clause"), Ok(true));
        assert_eq!(satisfied("MIT AND GPL-3.0-only"), Ok(false));
        assert_eq!(satisfied("(MIT OR GPL-2.0) AND Unicode-3.0"), Ok(true));
    }

    #[test]
    fn and_binds_tighter_than_or() {
        assert_eq!(satisfied("MIT OR Zlib AND GPL-3.0-only"), Ok(true));
        assert_eq!(satisfied("(MIT OR Zlib) AND GPL-3.0-only"), Ok(false));
    }

    #[test]
    fn an_exception_is_part_of_the_licence() {
        assert_eq!(satisfied("GPL-2.0-only WITH Classpath-exception-2.0"), Ok(false));
        assert_eq!(satisfied("MIT WITH LLVM-exception"), Ok(false));
    }

    #[test]
    fn a_broken_expression_is_an_error_and_never_a_yes() {
        for broken in ["", "MIT OR", "(MIT", "MIT)", "AND MIT", "MIT WITH", "MIT Zlib"] {
            assert!(satisfied(broken).is_err(), "{broken:?} passed");
        }
    }

    #[test]
    fn a_package_without_a_licence_is_named() {
        let package = Package {
            name: "left-pad".into(),
            version: "1.0.0".into(),
            licence: None,
            ours: false,
            folder: Default::default(),
            dependencies: Vec::new(),
            features: Vec::new(),
            targets: Vec::new(),
        };
        let said = complaint(&package).unwrap();
        assert!(said.starts_with("left-pad 1.0.0 states no licence"), "{said}");
    }
}
