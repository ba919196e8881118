//! The published figures: reads, compares and writes the tables in `docs/bounds.md`, each of which
//! is between two marks.
//!
//! A table has a row for each operation, and a column for each kind of pool. The names of the
//! columns are those in the page.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::states::record::{Most, Mosts};

/// The operations in the order of the tables.
const OPERATIONS: [&str; 20] = [
    "allocate",
    "allocate over-aligned",
    "allocate, failing",
    "deallocate",
    "deallocate over-aligned",
    "deallocate other than asked",
    "deallocate, refused",
    "grow",
    "grow over-aligned",
    "grow, moved",
    "grow over-aligned, moved",
    "shrink",
    "shrink over-aligned",
    "shrink, moved",
    "shrink over-aligned, moved",
    "reallocate, failing",
    "reallocate, refused",
    "malloc",
    "try_free",
    "realloc",
];

/// A figure of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// The most instructions of a call.
    Instructions,
    /// The most cache lines that a call touched.
    Lines,
}

/// The published lines are more than was counted by this, since the linker may place the tables of
/// constants differently.
const LINES_MARGIN: u64 = 2;

impl Figure {
    /// The count itself.
    fn counted(self, most: &Most) -> u64 {
        match self {
            Self::Instructions => most.cost.instructions,
            Self::Lines => most.cost.lines as u64,
        }
    }

    /// The figure to publish.
    fn published(self, most: &Most) -> u64 {
        match self {
            Self::Instructions => most.cost.instructions,
            Self::Lines => most.cost.lines as u64 + LINES_MARGIN,
        }
    }

    fn state(self, most: &Most) -> &str {
        match self {
            Self::Instructions => &most.state,
            Self::Lines => &most.lines_state,
        }
    }
}

/// A table as the page has it: the names of its columns, and its figures by column and operation.
struct Table<'page> {
    columns: Vec<&'page str>,
    figures: BTreeMap<(&'page str, &'page str), u64>,
}

fn marks(name: &str) -> [String; 2] {
    [format!("<!-- table: {name} -->"), format!("<!-- end of table: {name} -->")]
}

/// Where the page's table of this name begins and ends, without its marks.
fn span(page: &str, name: &str) -> Option<[usize; 2]> {
    let [begin, end] = marks(name);
    let start = page.find(&begin)? + begin.len();
    Some([start, start + page[start..].find(&end)?])
}

/// The page with `text` between the marks of its table `name`. `None` if it has no such table.
pub fn replaced(page: &str, name: &str, text: &str) -> Option<String> {
    let [start, end] = span(page, name)?;
    Some(format!("{}{text}{}", &page[..start], &page[end..]))
}

fn cells(line: &str) -> Option<impl Iterator<Item = &str>> {
    let line = line.strip_prefix('|')?.strip_suffix('|')?;
    Some(line.split('|').map(str::trim))
}

impl<'page> Table<'page> {
    fn read(page: &'page str, name: &str) -> Option<Self> {
        let [start, end] = span(page, name)?;
        let mut lines = page[start..end].lines().filter_map(cells);
        let columns: Vec<&str> = lines.next()?.skip(1).collect();
        let mut figures = BTreeMap::new();
        for mut row in lines {
            let operation = row.next()?;
            for (column, figure) in columns.iter().zip(row) {
                if let Ok(figure) = figure.parse() {
                    figures.insert((*column, operation), figure);
                }
            }
        }
        Some(Self { columns, figures })
    }

    fn write(&self) -> String {
        let mut table = format!("\n\n| operation | {} |\n|---|", self.columns.join(" | "));
        table += &"--:|".repeat(self.columns.len());
        for operation in OPERATIONS {
            let figure = |column: &&'page str| self.figures.get(&(*column, operation)).copied();
            if self.columns.iter().all(|column| figure(column).is_none()) {
                continue;
            }
            table += &format!("\n| {operation} |");
            for column in &self.columns {
                let cell = figure(column).map_or("-".to_string(), |figure| figure.to_string());
                table += &format!(" {cell} |");
            }
        }
        table + "\n\n"
    }
}

/// The page with the counts in its table `name`. Columns for which nothing was counted don't
/// change. `None` if the page has no such table, or the table no such column.
pub fn updated(page: &str, name: &str, most: &Mosts, figure: Figure) -> Option<String> {
    let mut table = Table::read(page, name)?;
    let is_counted = |column: &str| most.keys().any(|(tier, _)| *tier == column);
    table.figures.retain(|(column, _), _| !is_counted(column));
    for (&(tier, operation), most) in most {
        table.columns.iter().find(|column| **column == tier)?;
        table.figures.insert((tier, operation), figure.published(most));
    }
    replaced(page, name, &table.write())
}

/// What differs from the table `name` of `page`: figures that are exceeded, and figures of which
/// too few per cent were reached.
pub fn differences(
    most: &Mosts,
    page: &str,
    name: &str,
    figure: Figure,
    reached_percent: u64,
) -> Vec<String> {
    let Some(table) = Table::read(page, name) else {
        return alloc::vec![format!("there is no table {name}")];
    };
    let mut differences = Vec::new();
    for (&(tier, operation), most) in most {
        let counted = figure.counted(most);
        let state = figure.state(most);
        match table.figures.get(&(tier, operation)) {
            None => differences.push(format!("{name} has no figure for {operation}, {tier}")),
            Some(&told) if counted > told => differences.push(format!(
                "{operation}, {tier}: {counted}, where {name} says {told}, in: {state}"
            )),
            Some(&told) if figure.published(most) * 100 < told * reached_percent => differences
                .push(format!(
                    "{operation}, {tier}: only {counted} of {told} in {name} were reached"
                )),
            Some(_) => {}
        }
    }
    let is_counted = |column: &str| most.keys().any(|(tier, _)| *tier == column);
    for &(column, operation) in table.figures.keys() {
        if is_counted(column) && !most.keys().any(|key| *key == (column, operation)) {
            differences.push(format!("{operation}, {column}: published, but not counted"));
        }
    }
    differences
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::states::probe::Cost;

    const PAGE: &str = "before\n<!-- table: here -->\n\n| operation | small | large |\n|---|--:|--:|\n| grow | 7 | 9 |\n| shrink | 1 | - |\n\n\
        <!-- end of table: here -->\nafter\n";

    fn most(operation: &'static str, instructions: u64) -> Mosts {
        let most = Most {
            cost: Cost { instructions, lines: 5, ..Cost::default() },
            state: "a state".to_string(),
            lines_state: String::new(),
        };
        BTreeMap::from([(("small", operation), most)])
    }

    #[test]
    fn what_is_written_is_what_is_compared() {
        let page = updated(PAGE, "here", &most("grow", 100), Figure::Instructions).unwrap();
        assert!(page.starts_with("before\n") && page.ends_with("here -->\nafter\n"));
        assert!(page.contains("| grow | 100 | 9 |") && !page.contains("shrink"));
        let differences = |count| {
            let most = most("grow", count);
            differences(&most, &page, "here", Figure::Instructions, 90).len()
        };
        assert_eq!([89, 90, 100, 101].map(differences), [1, 0, 0, 1]);
        let twice = updated(&page, "here", &most("grow", 100), Figure::Instructions);
        assert_eq!(twice, Some(page));
    }

    #[test]
    fn lines_are_published_with_a_margin() {
        let page = updated(PAGE, "here", &most("grow", 0), Figure::Lines).unwrap();
        assert!(page.contains("| grow | 7 | 9 |"), "{page}");
        let told = differences(&most("grow", 0), &page, "here", Figure::Lines, 90);
        assert!(told.is_empty(), "{told:?}");
    }

    #[test]
    fn what_is_in_one_only_is_told() {
        let told = differences(&most("allocate", 1), PAGE, "here", Figure::Instructions, 90);
        assert_eq!(told.len(), 3, "{told:?}");
        let counted = most("grow", 1);
        let told = differences(&counted, PAGE, "there", Figure::Instructions, 90);
        assert_eq!(told, ["there is no table there"]);
        assert_eq!(updated(PAGE, "there", &counted, Figure::Lines), None);
        let page = PAGE.replace("small", "tiny");
        assert_eq!(updated(&page, "here", &counted, Figure::Lines), None);
    }
}
