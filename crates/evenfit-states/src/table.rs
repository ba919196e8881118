//! The published figures: a table in `docs/bounds.md` between two marks, read, compared with and written.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::record::Most;

/// The most by kind of pool and operation, as [`Record::finish`](crate::Record::finish) gives it.
pub type Mosts = BTreeMap<(&'static str, &'static str), Most>;

/// Which figures a table has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Columns {
    /// Instructions only.
    Instructions,
    /// Instructions, cache lines and turns.
    All,
}

/// The operations in the order of the tables.
const OPERATIONS: [&str; 7] = [
    "allocate",
    "allocate over-aligned",
    "deallocate",
    "grow",
    "grow over-aligned",
    "shrink",
    "shrink over-aligned",
];

fn marks(name: &str) -> [String; 2] {
    [
        format!("<!-- table: {name} -->"),
        format!("<!-- end of table: {name} -->"),
    ]
}

/// The page with what stands between the marks of `name` replaced; `None` if it has no such marks.
pub fn replaced(page: &str, name: &str, table: &str) -> Option<String> {
    let [begin, end] = marks(name);
    let start = page.find(&begin)? + begin.len();
    let rest = start + page[start..].find(&end)?;
    Some(format!("{}\n{table}{}", &page[..start], &page[rest..]))
}

/// The tables of figures and of the states that reach them, for the kinds of pool in this order.
pub fn rendered(most: &Mosts, tiers: &[&str], columns: Columns) -> String {
    let mut table = String::from(match columns {
        Columns::Instructions => "\n| operation | tier | instructions |\n|---|---|--:|\n",
        Columns::All => {
            "\n| operation | tier | instructions | cache lines | turns |\n|---|---|--:|--:|--:|\n"
        }
    });
    let rows = || {
        tiers.iter().flat_map(|tier| {
            OPERATIONS.iter().filter_map(move |operation| {
                most.get(&(*tier, *operation))
                    .map(|most| (tier, operation, most))
            })
        })
    };
    for (tier, operation, most) in rows() {
        table += &format!("| {operation} | {tier} |");
        for figure in figures(most, columns) {
            table += &format!(" {figure} |");
        }
        table.push('\n');
    }
    table +=
        "\nThe states that reach these figures:\n\n| operation | tier | state |\n|---|---|---|\n";
    for (tier, operation, most) in rows() {
        table += &format!("| {operation} | {tier} | {} |\n", most.state);
    }
    table.push('\n');
    table
}

/// Where the linker puts the tables of constants differs, and so how many lines more or less a call touches.
const LINES_MARGIN: u64 = 2;

/// What was counted.
fn counts(most: &Most, columns: Columns) -> Vec<u64> {
    let cost = most.cost;
    match columns {
        Columns::Instructions => alloc::vec![cost.instructions],
        Columns::All => alloc::vec![cost.instructions, cost.lines as u64, cost.turns as u64],
    }
}

/// What is published of it.
fn figures(most: &Most, columns: Columns) -> Vec<u64> {
    let mut figures = counts(most, columns);
    if let Some(lines) = figures.get_mut(1) {
        *lines += LINES_MARGIN;
    }
    figures
}

/// The figures of each row of the table `name`.
fn published<'page>(page: &'page str, name: &str) -> BTreeMap<(&'page str, &'page str), Vec<u64>> {
    let [begin, end] = marks(name);
    page.lines()
        .skip_while(|line| *line != begin)
        .take_while(|line| *line != end)
        .filter_map(|line| {
            let mut cells = line
                .strip_prefix('|')?
                .strip_suffix('|')?
                .split('|')
                .map(str::trim);
            let (operation, tier) = (cells.next()?, cells.next()?);
            let figures: Option<Vec<u64>> = cells.map(|cell| cell.parse().ok()).collect();
            Some(((tier, operation), figures?))
        })
        .collect()
}

/// What differs from the table `name` of `page`: a figure that is exceeded, or was not reached to within 10 %.
pub fn differences(most: &Mosts, page: &str, name: &str, columns: Columns) -> Vec<String> {
    let published = published(page, name);
    let mut differences = Vec::new();
    for (&(tier, operation), most) in most {
        let Some(row) = published.get(&(tier, operation)) else {
            differences.push(format!(
                "the table {name} has no row for {operation}, {tier}"
            ));
            continue;
        };
        let counted = counts(most, columns);
        let reached = figures(most, columns);
        let names = ["instructions", "lines", "turns"];
        for (((&counted, &reached), &told), what) in
            counted.iter().zip(&reached).zip(row).zip(names)
        {
            let state = if what == "lines" {
                &most.lines_state
            } else {
                &most.state
            };
            if counted > told {
                differences.push(format!(
                    "{operation}, {tier}: {counted} {what}, {told} are published, in {state}"
                ));
            }
            if reached * 10 < told * 9 && what != "turns" {
                differences.push(format!(
                    "{operation}, {tier}: only {reached} of {told} {what} were reached"
                ));
            }
        }
        if counted.len() != row.len() {
            differences.push(format!("{operation}, {tier}: the row has other columns"));
        }
    }
    for (tier, operation) in published.keys() {
        if !most.keys().any(|key| *key == (*tier, *operation)) {
            differences.push(format!(
                "{operation}, {tier} is published, but was not tried"
            ));
        }
    }
    differences
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Cost;
    use alloc::string::ToString;

    const PAGE: &str = "before\n<!-- table: here -->\nold\n<!-- end of table: here -->\nafter\n";

    fn most(instructions: u64) -> Mosts {
        let most = Most {
            cost: Cost {
                instructions,
                ..Cost::default()
            },
            state: "a state".to_string(),
            lines_state: String::new(),
        };
        BTreeMap::from([(("blocks only", "grow"), most)])
    }

    #[test]
    fn what_is_written_is_what_is_compared() {
        let table = rendered(&most(100), &["blocks only"], Columns::Instructions);
        let page = replaced(PAGE, "here", &table).unwrap();
        assert!(page.starts_with("before\n") && page.ends_with("here -->\nafter\n"));
        let differences =
            |count| differences(&most(count), &page, "here", Columns::Instructions).len();
        assert_eq!([89, 90, 100, 101].map(differences), [1, 0, 0, 1]);
        assert_eq!(replaced(PAGE, "there", &table), None);
    }

    #[test]
    fn a_missing_row_and_an_unknown_one_are_told() {
        let table = rendered(&most(100), &["blocks only"], Columns::Instructions);
        let page = replaced(PAGE, "here", &table)
            .unwrap()
            .replace("grow", "shrink");
        let told = differences(&most(100), &page, "here", Columns::Instructions);
        assert_eq!(told.len(), 2, "{told:?}");
    }
}
