//! What grows with the number of live blocks: the figures of `uniform_x10` over those of `uniform`.
//! The two loads differ only in this number, which is ten times as large.

use crate::table::{Cell, Table};
use crate::workload::Missing;

const LOAD: &str = "uniform";
const TEN_TIMES: &str = "uniform_x10";

/// The factors, of the measures that `tables` hold for both loads; `None` if there are none.
#[must_use]
pub fn table(tables: &[Table]) -> Option<Table> {
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
        let growth = table(&[made.over_made_loads()]).expect("both loads are there");
        assert_eq!(growth.cells, [[Ok(1.1)], [Err(Missing::TooSlow)]]);
        assert!(table(&[Table::new("instr", &["a"])]).is_none());
    }
}
