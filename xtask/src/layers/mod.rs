//! Which way the imports run: between crates, and between the modules of a crate.

mod crates;
mod imports;
mod modules;

use crate::Outcome;
use crate::workspace::Workspace;

/// Checks the whole workspace; the error lists every forbidden import with the rule it breaks.
pub(crate) fn check(workspace: &Workspace) -> Outcome {
    let packages: Vec<_> = workspace.ours().cloned().collect();
    let mut complaints = crates::complaints(&packages, &workspace.root);
    let reasons = std::fs::read_to_string(workspace.root.join("ARCHITECTURE.md"))
        .map_err(|error| format!("cannot read ARCHITECTURE.md: {error}"))?;
    complaints.extend(crates::without_reason(&packages, &reasons));
    complaints.extend(crates::without_use(&packages, &reasons));
    let mut paths = 0;
    for rules in modules::RULES {
        let package = workspace.package(rules.package)?;
        for target in
            package.targets.iter().filter(|target| ["lib", "bin"].contains(&&*target.kind))
        {
            let source = imports::read(&target.source)?;
            paths += source.imports.len();
            complaints.extend(modules::complaints(rules, &source, &workspace.root));
        }
    }
    if !complaints.is_empty() {
        return Err(complaints.join("\n"));
    }
    println!("{} crates and {paths} paths, each running the right way", packages.len());
    Ok(())
}
