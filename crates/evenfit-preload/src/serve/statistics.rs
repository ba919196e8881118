//! The functions by which a program inspects its heap, from the pool's counters.

use core::ffi::{CStr, c_int};
use core::fmt;

use super::memory::{MEMORY, Usage};
use crate::out::line;

/// Parameters of `mallopt` with an upper limit of their own, beyond which glibc refuses them.
const MXFAST_MAX: c_int = 20 * size_of::<usize>() as c_int;
const MMAP_THRESHOLD_MAX: c_int = 4 * size_of::<usize>() as c_int * 1024 * 1024;

/// The whole pool is one arena of one mapping. Nothing is ever returned to the kernel, so nothing
/// at its top can be trimmed.
pub fn mallinfo2() -> libc::mallinfo2 {
    let usage = MEMORY.usage();
    libc::mallinfo2 {
        arena: usage.stats.pool_bytes,
        ordblks: usage.free_blocks,
        smblks: 0,
        hblks: 0,
        hblkhd: 0,
        usmblks: 0,
        fsmblks: 0,
        uordblks: usage.stats.used_bytes,
        fordblks: usage.stats.free_bytes,
        keepcost: 0,
    }
}

/// As `mallinfo2`, but numbers of 2 GiB or more are reported as the largest `int`.
pub fn mallinfo() -> libc::mallinfo {
    let wide = mallinfo2();
    let narrow = |number: usize| c_int::try_from(number).unwrap_or(c_int::MAX);
    libc::mallinfo {
        arena: narrow(wide.arena),
        ordblks: narrow(wide.ordblks),
        smblks: 0,
        hblks: 0,
        hblkhd: 0,
        usmblks: 0,
        fsmblks: 0,
        uordblks: narrow(wide.uordblks),
        fordblks: narrow(wide.fordblks),
        keepcost: 0,
    }
}

/// Writes the same to standard error in words, as the program asks.
pub fn malloc_stats() {
    let usage = MEMORY.usage();
    line!(
        "Arena 0:\nsystem bytes     = {0:10}\nin use bytes     = {1:10}\n\
         Total (incl. mmap):\nsystem bytes     = {0:10}\nin use bytes     = {1:10}\n\
         max mmap regions = {2:10}\nmax mmap bytes   = {2:10}\n",
        usage.stats.pool_bytes,
        usage.stats.used_bytes,
        0,
    )
    .write();
}

/// Writes the same to a stream as XML, in the elements of glibc's answer.
///
/// # Safety
/// `stream` is an open stream.
pub unsafe fn malloc_info(options: c_int, stream: *mut libc::FILE) -> c_int {
    if options != 0 {
        return libc::EINVAL;
    }
    let text = line!("{}\0", Xml(MEMORY.usage()));
    if let Ok(text) = CStr::from_bytes_until_nul(text.as_bytes()) {
        // SAFETY: a C string; the stream is the caller's. The pool isn't locked, so the stream may
        // allocate.
        unsafe { libc::fputs(text.as_ptr(), stream) };
    }
    0
}

struct Xml(Usage);

impl fmt::Display for Xml {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stats = &self.0.stats;
        let totals = |f: &mut fmt::Formatter<'_>| {
            f.write_str("<total type=\"fast\" count=\"0\" size=\"0\"/>\n")?;
            writeln!(
                f,
                "<total type=\"rest\" count=\"{}\" size=\"{}\"/>",
                self.0.free_blocks, stats.free_bytes
            )
        };
        let system = |f: &mut fmt::Formatter<'_>| {
            for (name, kind) in [("system", "current"), ("system", "max"), ("aspace", "total")] {
                writeln!(f, "<{name} type=\"{kind}\" size=\"{}\"/>", stats.pool_bytes)?;
            }
            writeln!(f, "<aspace type=\"mprotect\" size=\"{}\"/>", stats.pool_bytes)
        };
        f.write_str("<malloc version=\"1\">\n<heap nr=\"0\">\n<sizes>\n</sizes>\n")?;
        totals(f)?;
        system(f)?;
        f.write_str("</heap>\n")?;
        totals(f)?;
        f.write_str("<total type=\"mmap\" count=\"0\" size=\"0\"/>\n")?;
        system(f)?;
        f.write_str("</malloc>\n")
    }
}

/// As glibc: 1 where the value is accepted. The pool stays as it is, whatever is asked.
pub fn mallopt(parameter: c_int, value: c_int) -> c_int {
    let accepted = match parameter {
        libc::M_MXFAST => (0..=MXFAST_MAX).contains(&value),
        libc::M_MMAP_THRESHOLD => (0..=MMAP_THRESHOLD_MAX).contains(&value),
        _ => true,
    };
    c_int::from(accepted)
}
