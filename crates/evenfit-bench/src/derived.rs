//! Tables that follow from others.

use crate::table::{Cell, Table};
use crate::workload::Missing;

const LOAD: &str = "uniform";
const TEN_TIMES: &str = "uniform_x10";

/// All that follow from `tables`.
pub fn all(tables: &[Table]) -> impl Iterator<Item = Table> {
    [worst(tables), growth(tables)].into_iter().flatten()
}

/// The most instructions in one operation, over all loads of each kind.
fn worst(tables: &[Table]) -> Option<Table> {
    let names: Vec<&str> = tables.first()?.rows.iter().map(String::as_str).collect();
    let mut worst = Table::new("worst", &names);
    for operation in ["alloc", "free", "realloc"] {
        for (measure, loads) in [("worst_", "recorded"), ("made_worst_", "made")] {
            let measure = format!("{measure}{operation}");
            let Some(of) = tables.iter().find(|table| table.measure == measure) else { continue };
            let most = |name: &&str| -> Cell {
                let row = of.rows.iter().position(|row| row == name);
                row.and_then(|row| of.summarized(row)).ok_or(Missing::NotMeasured)
            };
            worst.push_column(&format!("{operation}, {loads}"), names.iter().map(most).collect());
        }
    }
    (!worst.columns.is_empty()).then_some(worst)
}

/// What grows with the number of live blocks: the figures of `uniform_x10` over those of `uniform`,
/// which differ only in this number. Of the measures that `tables` hold for both; `None` if there
/// are none.
fn growth(tables: &[Table]) -> Option<Table> {
    let names: Vec<&str> = tables.first()?.rows.iter().map(String::as_str).collect();
    let mut growth = Table::new("growth", &names);
    for measure in ["instr", "ns", "worst_alloc", "worst_free"] {
        let Some(of) = tables.iter().find(|table| table.is_of_made_loads(measure)) else {
            continue;
        };
        let factor = |name: &str| -> Cell {
            let (few, many) = (of.get(name, LOAD)?, of.get(name, TEN_TIMES)?);
            if few > 0.0 { Ok(many / few) } else { Err(Missing::NotMeasured) }
        };
        growth.push_column(measure, names.iter().map(|name| factor(name)).collect());
    }
    let has_any = growth.cells.iter().flatten().any(Result::is_ok);
    has_any.then_some(growth)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn divides_many_by_few() {
        let mut made = Table::new("instr", &["a", "b"]);
        made.push_column(LOAD, vec![Ok(50.0), Ok(10.0)]);
        made.push_column(TEN_TIMES, vec![Ok(55.0), Err(Missing::TooSlow)]);
        let growth = growth(&[made.over_made_loads()]).expect("both loads are there");
        assert_eq!(growth.cells, [[Ok(1.1)], [Err(Missing::TooSlow)]]);
        assert_eq!(all(&[Table::new("instr", &["a"])]).count(), 0);
    }

    #[test]
    fn the_worst_is_over_all_loads_of_a_kind() {
        let mut recorded = Table::new("worst_free", &["a", "b"]);
        recorded.push_column("one", vec![Ok(5.0), Err(Missing::TooSlow)]);
        recorded.push_column("two", vec![Ok(7.0), Err(Missing::TooSlow)]);
        let mut made = Table::new("worst_free", &["a", "b"]).over_made_loads();
        made.push_column("three", vec![Ok(6.0), Ok(2.0)]);
        let worst = worst(&[recorded, made]).expect("there are such tables");
        assert_eq!(worst.columns, ["free, recorded", "free, made"]);
        assert_eq!(worst.cells[0], [Ok(7.0), Ok(6.0)]);
        assert_eq!(worst.cells[1], [Err(Missing::NotMeasured), Ok(2.0)]);
    }
}
