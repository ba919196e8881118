//! The pools of running processes, as they publish them (see `evenfit_live`): found in `/proc`, copied out, never stopped.

use std::fs;
use std::io;

use evenfit::observe::{Counters, Lengths, Replica, Whereabouts, layout};
use evenfit::{Block, BlockState};
use evenfit_live::{PAGE_NAME, Page};

/// Copies taken in a row until one is whole.
const TRIES: usize = 8;

/// Why a process's pool can't be seen.
#[derive(Debug)]
pub enum Unseen {
    /// There is no such process.
    NoProcess,
    /// It has published none.
    NoPool,
    /// The kernel forbids to look.
    Forbidden,
    /// Its library lays its map out in another way.
    OtherVersion,
    /// Anything else.
    Io(io::Error),
}

impl Unseen {
    /// In a sentence, with what to do.
    pub fn say(&self, process_id: u32) -> String {
        match self {
            Self::NoProcess => format!("there is no process {process_id}"),
            Self::NoPool => format!(
                "process {process_id} shows no pool: start it by `evenfit run`, or let it publish one (crate evenfit-live); \
                 `evenfit top --list` names those that do"
            ),
            Self::Forbidden => format!(
                "not allowed to look into process {process_id}: it must be yours, and where kernel.yama.ptrace_scope is 1 \
                 be started by `evenfit run --top`"
            ),
            Self::OtherVersion => format!(
                "process {process_id} runs with another version of evenfit than this command ({})",
                env!("CARGO_PKG_VERSION")
            ),
            Self::Io(error) => format!("can't look into process {process_id}: {error}"),
        }
    }

    fn of(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Self::Forbidden,
            Some(libc::ESRCH | libc::ENOENT) => Self::NoProcess,
            // The process is ending, or begins another program.
            Some(libc::EFAULT) => Self::NoPool,
            _ => Self::Io(error),
        }
    }
}

/// A running process whose pool can be seen.
#[derive(Clone, Debug)]
pub struct Process {
    /// Its number.
    pub id: u32,
    /// Its name, as the kernel has it.
    pub name: String,
    page: u64,
    whereabouts: Whereabouts,
}

/// A pool as it was at about one moment.
pub struct Sample {
    /// What the heap counts.
    pub counters: Counters,
    /// The blocks in address order, the top last.
    pub blocks: Vec<Block>,
    /// Whether the copy was taken between two operations; else some blocks at the end may be missing.
    pub is_whole: bool,
}

impl Process {
    /// Finds the pool of a process; the largest, of several.
    ///
    /// # Errors
    /// Why it can't be seen.
    pub fn find(id: u32) -> Result<Self, Unseen> {
        let pages = pages(id)?;
        if pages.is_empty() {
            return Err(Unseen::NoPool);
        }
        let mut found = None::<Self>;
        for page in pages {
            let whereabouts = read_page(id, page)?;
            let is_larger = found
                .as_ref()
                .is_none_or(|other| whereabouts.region_bytes > other.whereabouts.region_bytes);
            if is_larger {
                found = Some(Self {
                    id,
                    name: name(id),
                    page,
                    whereabouts,
                });
            }
        }
        found.ok_or(Unseen::NoPool)
    }

    /// All processes with a pool that this user may look into, by their numbers.
    pub fn all() -> Vec<Self> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let mut ids: Vec<u32> = entries
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect();
        ids.sort_unstable();
        ids.into_iter()
            .filter_map(|id| Self::find(id).ok())
            .collect()
    }

    /// How long the pool's region is.
    pub fn region_bytes(&self) -> u64 {
        self.whereabouts.region_bytes
    }

    /// What the heap counts now.
    ///
    /// # Errors
    /// The process has ended or runs another program.
    pub fn counters(&self) -> Result<Counters, Unseen> {
        // What the page says now: another program in the same process has it elsewhere.
        if read_page(self.id, self.page)? != self.whereabouts {
            return Err(Unseen::NoPool);
        }
        let mut words = [0_u64; Counters::COUNT];
        for (word, &address) in words.iter_mut().zip(&self.whereabouts.counters) {
            copy_out(self.id, address, std::slice::from_mut(word))?;
        }
        Ok(Counters::from_words(words))
    }

    /// Copies counters and map, some times over while the heap moves on underneath.
    ///
    /// # Errors
    /// The process has ended or runs another program.
    pub fn sample(&self) -> Result<Sample, Unseen> {
        let mut best = self.try_sample()?;
        for _ in 1..TRIES {
            if best.is_whole {
                break;
            }
            let again = self.try_sample()?;
            if again.is_whole || again.blocks.len() > best.blocks.len() {
                best = again;
            }
        }
        Ok(best)
    }

    fn try_sample(&self) -> Result<Sample, Unseen> {
        let counters = self.counters()?;
        let lengths = Lengths::of(&self.whereabouts, &counters).ok_or(Unseen::NoPool)?;
        let mut map = vec![0_u64; lengths.map_words];
        let mut directory = vec![0_u64; lengths.directory_words];
        copy_out(self.id, self.whereabouts.map, &mut map)?;
        copy_out(self.id, self.whereabouts.directory, &mut directory)?;
        let replica = Replica::new(&self.whereabouts, &counters, &mut map, &mut directory);
        let blocks: Vec<Block> = replica.ok_or(Unseen::NoPool)?.blocks().collect();
        let reaches_the_top = blocks
            .last()
            .is_some_and(|last| last.state == BlockState::Top)
            || counters.top == counters.end;
        Ok(Sample {
            is_whole: reaches_the_top && self.counters()?.top == counters.top,
            counters,
            blocks,
        })
    }
}

fn name(id: u32) -> String {
    let name = fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default();
    name.trim_end().replace(char::is_control, "?")
}

/// Where the pages of a process lie that say where a pool is.
fn pages(id: u32) -> Result<Vec<u64>, Unseen> {
    let maps = fs::read(format!("/proc/{id}/maps")).map_err(Unseen::of)?;
    let name = format!("/memfd:{}", PAGE_NAME.to_string_lossy());
    let maps = String::from_utf8_lossy(&maps);
    let starts = maps
        .lines()
        .filter(|line| line.contains(&name))
        .filter_map(|line| u64::from_str_radix(line.split('-').next()?, 16).ok());
    Ok(starts.collect())
}

fn read_page(id: u32, page: u64) -> Result<Whereabouts, Unseen> {
    const WORDS: usize = size_of::<Page>() / size_of::<u64>();
    let mut words = [0_u64; WORDS];
    copy_out(id, page, &mut words)?;
    // SAFETY: a page is nothing but words and bytes, any of which are valid.
    let page: Page = unsafe { std::mem::transmute(words) };
    if page.magic != Page::MAGIC {
        return Err(Unseen::NoPool);
    }
    if page.whereabouts.layout != layout() {
        return Err(Unseen::OtherVersion);
    }
    Ok(page.whereabouts)
}

/// Copies so many words from another process.
fn copy_out(id: u32, address: u64, words: &mut [u64]) -> Result<(), Unseen> {
    if words.is_empty() {
        return Ok(());
    }
    let local = libc::iovec {
        iov_base: words.as_mut_ptr().cast(),
        iov_len: size_of_val(words),
    };
    let remote = libc::iovec {
        iov_base: std::ptr::without_provenance_mut(address as usize),
        iov_len: size_of_val(words),
    };
    // SAFETY: the kernel writes into `words` only, and reads the other process's memory or refuses to.
    let copied = unsafe { libc::process_vm_readv(id as libc::pid_t, &local, 1, &remote, 1, 0) };
    match usize::try_from(copied) {
        Ok(copied) if copied == size_of_val(words) => Ok(()),
        Ok(_) => Err(Unseen::NoPool),
        Err(_) => Err(Unseen::of(io::Error::last_os_error())),
    }
}
