//! The pools of running processes, as they publish them (see `evenfit_trace::live`): found in
//! `/proc` and copied, without stopping the process.

use std::fs;
use std::io;

use evenfit::observe::{Counters, MemoryRange, MetadataAddresses, layout_hash, walk};
use evenfit::{Block, BlockState};
use evenfit_trace::live::{PAGE_NAME, Page};

/// The most attempts at a consistent copy.
const TRIES: usize = 8;

/// Why a process's pool can't be seen.
#[derive(Debug)]
pub enum Unseen {
    /// There is no such process.
    NoProcess,
    /// It has published none.
    NoPool,
    /// The kernel doesn't allow it.
    Forbidden,
    /// Its library has another layout of the metadata.
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
                "process {process_id} shows no pool: start it with `evenfit run`, or publish its pool \
                 (`evenfit_trace::live`); `evenfit top --list` names the processes that can be seen"
            ),
            Self::Forbidden => format!(
                "not allowed to look into process {process_id}: it must be yours and, where \
                 kernel.yama.ptrace_scope is 1, be started by `evenfit run --top`"
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
    addresses: MetadataAddresses,
    granule_bytes: u64,
}

/// A pool as it was at about one moment.
pub struct Sample {
    /// What the heap counts.
    pub counters: Counters,
    /// The blocks in address order, the top last.
    pub blocks: Vec<Block>,
    /// Whether the copy was made between two operations. Otherwise some blocks at the end may be
    /// missing.
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
            let addresses = read_page(id, page)?;
            let granule_bytes = addresses.granule_bytes().ok_or(Unseen::NoPool)?;
            let is_larger = found
                .as_ref()
                .is_none_or(|other| addresses.region_bytes > other.addresses.region_bytes);
            if is_larger {
                found = Some(Self { id, name: name(id), page, addresses, granule_bytes });
            }
        }
        found.ok_or(Unseen::NoPool)
    }

    /// All processes with a pool that this user may look into, by their numbers.
    pub fn all() -> Vec<Self> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let mut ids: Vec<u32> =
            entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
        ids.sort_unstable();
        ids.into_iter().filter_map(|id| Self::find(id).ok()).collect()
    }

    /// How long the pool's region is.
    pub fn region_bytes(&self) -> u64 {
        self.addresses.region_bytes
    }

    /// What the counters count in.
    pub fn granule_bytes(&self) -> u64 {
        self.granule_bytes
    }

    /// What the heap counts now.
    ///
    /// # Errors
    /// The process has ended or runs another program.
    pub fn counters(&self) -> Result<Counters, Unseen> {
        // Reads the page again: another program in the same process has its pool elsewhere.
        if read_page(self.id, self.page)? != self.addresses {
            return Err(Unseen::NoPool);
        }
        let words = self
            .addresses
            .counters
            .map(|address| MemoryRange { address, len_bytes: size_of::<u64>() });
        let mut counters = [0_u64; Counters::COUNT];
        copy_out(self.id, &words, &mut counters)?;
        Ok(Counters::from_words(counters))
    }

    /// Copies counters and metadata, again if the heap changed meanwhile.
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
        let ranges = self.addresses.ranges(&counters).ok_or(Unseen::NoPool)?;
        let copied_bytes: usize = ranges.iter().map(|range| range.len_bytes).sum();
        let mut copy = vec![0_u32; copied_bytes.div_ceil(size_of::<u32>())];
        copy_out(self.id, &ranges, &mut copy)?;
        let mut blocks = Vec::new();
        walk(&self.addresses, &counters, &copy, &mut |block| {
            blocks.push(block);
        });
        let reaches_the_top = blocks.last().is_some_and(|last| last.state == BlockState::Top)
            || counters.top == counters.end;
        let place = |counters: &Counters| (counters.top, counters.rest);
        Ok(Sample {
            is_whole: reaches_the_top && place(&self.counters()?) == place(&counters),
            counters,
            blocks,
        })
    }
}

fn name(id: u32) -> String {
    let name = fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default();
    name.trim_end().replace(char::is_control, "?")
}

/// The addresses of the pages in which a process publishes pools.
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

fn read_page(id: u32, page: u64) -> Result<MetadataAddresses, Unseen> {
    const WORDS: usize = size_of::<Page>() / size_of::<u64>();
    let mut words = [0_u64; WORDS];
    let range = MemoryRange { address: page, len_bytes: size_of::<Page>() };
    copy_out(id, &[range], &mut words)?;
    // SAFETY: a page is nothing but words and bytes, any of which are valid.
    let page: Page = unsafe { std::mem::transmute(words) };
    let (name, form) = Page::MAGIC.split_at(Page::MAGIC.len() - 1);
    if !page.magic.starts_with(name) {
        return Err(Unseen::NoPool);
    }
    if !page.magic.ends_with(form) || page.addresses.layout_hash != layout_hash() {
        return Err(Unseen::OtherVersion);
    }
    Ok(page.addresses)
}

/// Copies ranges of another process's memory into `room`, one after the other.
fn copy_out<T: Word>(id: u32, ranges: &[MemoryRange], room: &mut [T]) -> Result<(), Unseen> {
    let wanted_bytes: usize = ranges.iter().map(|range| range.len_bytes).sum();
    assert!(wanted_bytes <= size_of_val(room), "the room is made for it");
    let local = libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: wanted_bytes };
    let remote: Vec<libc::iovec> = ranges
        .iter()
        .map(|range| libc::iovec {
            iov_base: std::ptr::without_provenance_mut(range.address as usize),
            iov_len: range.len_bytes,
        })
        .collect();
    // SAFETY: the kernel writes into `room` only, whose words may be anything, and reads the other
    // process's memory or refuses to.
    let copied = unsafe {
        let (remote, count) = (remote.as_ptr(), remote.len() as libc::c_ulong);
        libc::process_vm_readv(id as libc::pid_t, &local, 1, remote, count, 0)
    };
    match usize::try_from(copied) {
        Ok(copied) if copied == wanted_bytes => Ok(()),
        Ok(_) => Err(Unseen::NoPool),
        Err(_) => Err(Unseen::of(io::Error::last_os_error())),
    }
}

/// A type of which any bytes are a value.
trait Word {}
impl Word for u32 {}
impl Word for u64 {}
