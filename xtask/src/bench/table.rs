//! The table of figures.

/// What a figure should be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Goal {
    AtMost(f64),
    AtLeast(f64),
    /// Shown to explain another.
    None,
}

/// A figure, as often as it was measured.
#[derive(Debug, Clone)]
pub(super) struct Row {
    name: String,
    unit: &'static str,
    values: Vec<f64>,
    goal: Goal,
    floor: Option<(String, Vec<f64>)>,
}

impl Row {
    pub(super) fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Row {
        Row { name: name.into(), unit, values: vec![value], goal: Goal::None, floor: None }
    }

    pub(super) fn goal(mut self, goal: Goal) -> Row {
        self.goal = goal;
        self
    }

    /// What no implementation could go below, in the unit of the figure.
    pub(super) fn floor(mut self, name: impl Into<String>, value: f64) -> Row {
        self.floor = Some((name.into(), vec![value]));
        self
    }

    fn cells(&self) -> [String; 7] {
        let median = middle(&self.values);
        let least = self.values.iter().copied().fold(f64::INFINITY, f64::min);
        let most = self.values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let spread = if self.values.len() > 1 {
            format!("{} .. {}", figure(least), figure(most))
        } else {
            String::new()
        };
        let (goal, met) = match self.goal {
            Goal::AtMost(limit) => (format!("<= {}", figure(limit)), verdict(median <= limit)),
            Goal::AtLeast(limit) => (format!(">= {}", figure(limit)), verdict(median >= limit)),
            Goal::None => (String::new(), ""),
        };
        let (floor, ratio) = match &self.floor {
            Some((name, values)) => {
                let floor = middle(values);
                (format!("{} {name}", figure(floor)), format!("{:.2} x", median / floor))
            }
            None => (String::new(), String::new()),
        };
        [
            self.name.clone(),
            format!("{} {}", figure(median), self.unit).trim_end().to_owned(),
            spread,
            goal,
            met.to_owned(),
            floor,
            ratio,
        ]
    }
}

/// The median.
fn middle(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = values.get(middle).copied().unwrap_or(f64::NAN);
    if values.len() % 2 == 1 {
        return upper;
    }
    middle
        .checked_sub(1)
        .and_then(|lower| values.get(lower))
        .map_or(upper, |lower| (lower + upper) / 2.0)
}

/// Adds the rows of a further run to those of the runs before.
pub(super) fn gather(rows: &mut Vec<Row>, run: Vec<Row>) {
    for row in run {
        match rows.iter_mut().find(|known| known.name == row.name) {
            Some(known) => {
                known.values.extend(row.values);
                if let (Some((_, floors)), Some((_, more))) = (&mut known.floor, row.floor) {
                    floors.extend(more);
                }
            }
            None => rows.push(row),
        }
    }
}

/// The rows in columns.
pub(super) fn render(rows: &[Row]) -> String {
    let head = ["figure", "median", "runs", "goal", "met", "floor", "ratio"].map(str::to_owned);
    let cells: Vec<[String; 7]> =
        std::iter::once(head).chain(rows.iter().map(Row::cells)).collect();
    let mut widths = [0; 7];
    for row in &cells {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut table = String::new();
    for row in &cells {
        let line: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        table += line.join("  ").trim_end();
        table.push('\n');
    }
    table
}

fn verdict(met: bool) -> &'static str {
    if met { "yes" } else { "NO" }
}

/// A number with as many digits as mean something.
fn figure(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude >= 100.0 || value == value.trunc() {
        format!("{value:.0}")
    } else if magnitude >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(values: &[f64]) -> Row {
        let mut rows = Vec::new();
        for (value, floor) in values.iter().zip([2.0, 9.0, 1.0]) {
            let row =
                Row::new("latency", *value, "ms").goal(Goal::AtMost(5.0)).floor("fsync", floor);
            gather(&mut rows, vec![row]);
        }
        rows.remove(0)
    }

    #[test]
    fn the_median_of_the_runs_is_held_against_the_goal_and_the_median_of_the_floors() {
        let cells = runs(&[9.0, 4.0, 3.0]).cells();
        assert_eq!(cells, ["latency", "4 ms", "3 .. 9", "<= 5", "yes", "2 fsync", "2.00 x"]);
        assert_eq!(runs(&[4.0, 7.0]).cells()[1], "5.50 ms");
        assert_eq!(runs(&[4.0, 7.0]).cells()[4], "NO");
    }

    #[test]
    fn columns_stand_below_each_other() {
        let table = render(&[runs(&[4.0]), Row::new("a longer name", 1234.4, "")]);
        let columns: Vec<_> = table
            .lines()
            .map(|line| line.find("median").or(line.find("4 ms")).or(line.find("1234")))
            .collect();
        assert_eq!(columns, [Some(15), Some(15), Some(15)]);
    }
}
