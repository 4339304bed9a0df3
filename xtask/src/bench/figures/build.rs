//! The first build of the shop, downloads apart.

use std::time::Instant;

use super::super::Bench;
use super::super::table::{Goal, Row};
use crate::Outcome;
use crate::command::{cargo, run};

pub(super) fn measure(bench: &Bench) -> Outcome<Vec<Row>> {
    let target = bench.folder.join("first-build");
    run(cargo(&bench.workspace.root).args(["fetch", "--locked"]))?;
    bench.repeat(|| {
        if target.exists() {
            std::fs::remove_dir_all(&target)
                .map_err(|error| format!("cannot empty {}: {error}", target.display()))?;
        }
        let mut build = cargo(&bench.workspace.root);
        build.env("CARGO_TARGET_DIR", &target);
        let began = Instant::now();
        run(build.args(["build", "--release", "--locked", "--quiet", "--package", "shop"]))?;
        let took = began.elapsed().as_secs_f64() / 60.0;
        std::fs::remove_dir_all(&target)
            .map_err(|error| format!("cannot empty {}: {error}", target.display()))?;
        Ok(vec![Row::new("first build of the shop", took, "min").goal(Goal::AtMost(5.0))])
    })
}
