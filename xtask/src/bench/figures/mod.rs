//! What is measured.

mod build;
mod idle;
mod latency;
mod log;
mod mem;
mod start;
mod sustained;

use super::Bench;
use super::table::Row;
use crate::Outcome;

/// Something that is measured by name.
pub(super) struct Figure {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    /// Whether it is measured when nothing is named.
    pub(super) usual: bool,
    pub(super) measure: fn(&Bench) -> Outcome<Vec<Row>>,
}

/// Every figure.
pub(super) const FIGURES: &[Figure] = &[
    Figure {
        name: "mem",
        about: "mem: publish to handler, instructions and allocations",
        usual: true,
        measure: mem::measure,
    },
    Figure {
        name: "latency",
        about: "POST to confirmed at 200 orders/s",
        usual: true,
        measure: latency::measure,
    },
    Figure {
        name: "sustained",
        about: "an open loop of many orders a second",
        usual: true,
        measure: sustained::measure,
    },
    Figure {
        name: "start",
        about: "start to first order accepted, on an empty folder",
        usual: true,
        measure: start::empty,
    },
    Figure {
        name: "million",
        about: "start to first order accepted, on a million orders",
        usual: true,
        measure: start::full,
    },
    Figure {
        name: "idle",
        about: "memory and processor of a shop that does nothing",
        usual: true,
        measure: idle::measure,
    },
    Figure {
        name: "log",
        about: "the embedded log: appends, reads, openings, memory, ten minutes",
        usual: false,
        measure: log::measure,
    },
    Figure {
        name: "build",
        about: "first build of the shop into an empty folder",
        usual: false,
        measure: build::measure,
    },
];
