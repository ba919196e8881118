//! A contract: limits that a program declares for its allocations, as a TOML file.

use std::fmt;

use serde::Deserialize;

use crate::geometry::Cut;
use crate::safe::Demand;

/// The limits of one part of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Its name.
    pub name: String,
    /// Smallest size in bytes.
    pub min_bytes: u64,
    /// Largest size in bytes.
    pub max_bytes: u64,
    /// Largest alignment in bytes, a power of two.
    pub align_bytes: u64,
    /// Most blocks live at once.
    pub most_live: u64,
    /// Whether its blocks are reallocated to larger sizes. During such a move there is one block
    /// more.
    pub grows: bool,
}

/// The sites of a program, and the geometry of its heap: `standard` (the default), `aligned`,
/// `wide` or `compact`.
///
/// ```
/// let contract = evenfit_bound::Contract::parse(r#"
///     geometry = "compact"
///     [[site]]
///     name = "packet"
///     size = [20, 1500]
///     most_live = 4
/// "#)?;
/// assert_eq!(contract.sites[0].max_bytes, 1500);
/// # Ok::<(), evenfit_bound::ContractError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contract {
    /// The heap it runs in.
    pub cut: Cut,
    /// Its sites, as written.
    pub sites: Vec<Site>,
}

/// What is wrong with a contract, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContractError(String);

impl fmt::Display for ContractError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ContractError {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    geometry: Option<String>,
    /// An old key, which named the geometry when each had a different granule.
    granule: Option<Bytes>,
    #[serde(default)]
    site: Vec<FileSite>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileSite {
    name: String,
    size: Size,
    align: Option<Bytes>,
    most_live: u64,
    #[serde(default)]
    grows: bool,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a size reads 64, \"4KiB\" or, for a range, [20, 1500]")]
enum Size {
    One(Bytes),
    Range([Bytes; 2]),
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a number of bytes reads 64 or \"4KiB\"")]
enum Bytes {
    Number(u64),
    Text(String),
}

/// Limits beyond any machine's memory, such that sums can't overflow.
const BYTES_MAX: u64 = 1 << 48;
const COUNT_MAX: u64 = 1 << 40;
const SITES_MAX: usize = 256;

impl Bytes {
    fn value(&self) -> Option<u64> {
        let text = match self {
            Self::Number(bytes) => return Some(*bytes),
            Self::Text(text) => text.trim(),
        };
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let scale: u64 = match unit.trim().to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "k" | "kib" => 1 << 10,
            "m" | "mib" => 1 << 20,
            "g" | "gib" => 1 << 30,
            "kb" => 1_000,
            "mb" => 1_000_000,
            "gb" => 1_000_000_000,
            _ => return None,
        };
        number.parse::<u64>().ok()?.checked_mul(scale)
    }
}

impl Contract {
    /// Reads a contract.
    ///
    /// # Errors
    /// What is wrong, with the line or the site's name.
    pub fn parse(text: &str) -> Result<Self, ContractError> {
        let file: File =
            toml::from_str(text).map_err(|e| ContractError(e.to_string().trim_end().to_owned()))?;
        let geometry = file.geometry.as_deref().unwrap_or("standard");
        let cut = Cut::named(geometry).filter(|_| file.granule.is_none());
        let cut = cut.ok_or_else(|| {
            let names = Cut::NAMED.map(|(name, _)| format!("\"{name}\"")).join(", ");
            let wrong = match file.granule {
                Some(_) => "a granule names no geometry".to_owned(),
                None => format!("'{geometry}' is no geometry"),
            };
            ContractError(format!("{wrong}: write geometry = {names}"))
        })?;
        if file.site.is_empty() {
            return Err(ContractError("no [[site]] is declared: name at least one".into()));
        }
        if file.site.len() > SITES_MAX {
            return Err(ContractError(format!(
                "{} sites; at most {SITES_MAX} are allowed",
                file.site.len()
            )));
        }
        let sites = file.site.iter().map(read_site).collect::<Result<Vec<_>, _>>()?;
        let mut names: Vec<&str> = sites.iter().map(|site| site.name.as_str()).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(ContractError(format!("site '{}' is declared twice", twice[0])));
        }
        Ok(Self { cut, sites })
    }

    /// The contract in granules, site by site.
    pub fn demands(&self) -> Vec<Demand> {
        self.sites.iter().map(|site| site.demand(self.cut)).collect()
    }
}

impl Site {
    /// The site's demand on a heap.
    pub fn demand(&self, cut: Cut) -> Demand {
        Demand {
            min: cut.granules(self.min_bytes),
            max: cut.granules(self.max_bytes),
            slack: cut.slack(self.align_bytes),
            most_live: self.most_live + u64::from(self.grows),
        }
    }
}

fn read_site(site: &FileSite) -> Result<Site, ContractError> {
    let wrong = |what: &str| ContractError(format!("site '{}': {what}", site.name));
    if site.name.is_empty() || site.name.chars().any(char::is_control) {
        return Err(ContractError(format!("site {:?}: a name must be plain text", site.name)));
    }
    let (min, max) = match &site.size {
        Size::One(bytes) => (bytes.value(), bytes.value()),
        Size::Range([min, max]) => (min.value(), max.value()),
    };
    let (Some(min_bytes), Some(max_bytes)) = (min, max) else {
        return Err(wrong("size is no number of bytes: it reads 64, \"4KiB\" or [20, 1500]"));
    };
    if min_bytes > max_bytes {
        return Err(wrong("size: the first of a range is the smaller one"));
    }
    let align_bytes = site.align.as_ref().map_or(Some(1), Bytes::value);
    let Some(align_bytes) = align_bytes.filter(|align| align.is_power_of_two()) else {
        return Err(wrong("align must be a power of two, in bytes"));
    };
    if max_bytes > BYTES_MAX || align_bytes > BYTES_MAX {
        return Err(wrong("no machine has that much memory"));
    }
    if site.most_live == 0 || site.most_live > COUNT_MAX {
        return Err(wrong("most_live must be from 1 to 2^40"));
    }
    Ok(Site {
        name: site.name.clone(),
        min_bytes,
        max_bytes,
        align_bytes,
        most_live: site.most_live,
        grows: site.grows,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        Contract::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn a_contract_reads_as_written() {
        let contract = Contract::parse(
            "geometry = 'compact'\n[[site]]\nname='a'\nsize='4KiB'\nmost_live=2\n\
             [[site]]\nname='b'\nsize=[1, '2k']\nalign=64\nmost_live=3\ngrows=true",
        )
        .unwrap();
        assert_eq!(contract.cut, Cut::COMPACT);
        assert_eq!((contract.sites[0].min_bytes, contract.sites[0].max_bytes), (4096, 4096));
        let demand = contract.demands()[1];
        assert_eq!(demand, Demand { min: 2, max: 256, slack: 9, most_live: 4 });
    }

    #[test]
    fn every_geometry_has_a_name() {
        for (name, cut) in Cut::NAMED {
            let text = format!("geometry='{name}'\n[[site]]\nname='x'\nsize=1\nmost_live=1");
            let contract = Contract::parse(&text).unwrap();
            assert_eq!((contract.cut, cut.name()), (cut, Some(name)));
        }
        let unnamed = Contract::parse("[[site]]\nname='x'\nsize=1\nmost_live=1").unwrap();
        assert_eq!(unnamed.cut, Cut::STANDARD);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let site = |fields: &str| format!("[[site]]\nname='x'\n{fields}");
        for (text, part) in [
            (String::new(), "no [[site]]"),
            (
                "geometry='round'\n[[site]]\nname='x'\nsize=1\nmost_live=1".into(),
                "'round' is no geometry: write geometry = \"standard\", ",
            ),
            (
                "granule=8\n[[site]]\nname='x'\nsize=1\nmost_live=1".into(),
                "a granule names no geometry: write geometry = ",
            ),
            (site("size=1"), "most_live"),
            (site("size=[9,1]\nmost_live=1"), "smaller"),
            (site("size='many'\nmost_live=1"), "4KiB"),
            (site("size=-1\nmost_live=1"), "4KiB"),
            (site("size=1\nmost_live=0"), "most_live"),
            (site("size=1\nalign=3\nmost_live=1"), "power of two"),
            (site("size=1\nmost_live=1\nwhat=2"), "what"),
            (site("size=999999999999999999\nmost_live=1"), "machine"),
            (format!("{}\n{}", site("size=1\nmost_live=1"), site("size=1\nmost_live=1")), "twice"),
            ("[[site]\n".into(), "line 1"),
        ] {
            assert!(error(&text).contains(part), "{text}: {}", error(&text));
        }
    }
}
