//! Checks a contract while the program runs.

use core::alloc::Layout;
use core::fmt;

/// One site of a contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Class {
    /// The site's name.
    pub name: &'static str,
    /// Smallest size in bytes.
    pub min_bytes: usize,
    /// Largest size in bytes.
    pub max_bytes: usize,
    /// Largest alignment in bytes.
    pub align_bytes: usize,
    /// Most blocks live at once, a block that a reallocation is moving counted twice.
    pub most_live: u32,
}

/// How a contract was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ViolationKind {
    /// One block more than the site may have live.
    TooMany,
    /// A size outside the site's range.
    Size,
    /// A larger alignment than the site's.
    Align,
    /// More blocks freed than were allocated.
    FreedTooOften,
}

/// The first violation of a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The index of the class in the contract.
    pub class: usize,
    /// Its name.
    pub name: &'static str,
    /// How it violated the contract.
    pub kind: ViolationKind,
    /// The size that was asked for, in bytes; 0 for a block that was freed.
    pub size_bytes: usize,
    /// Blocks of the class that were live before.
    pub live: u32,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, live, size_bytes, .. } = self;
        match self.kind {
            ViolationKind::TooMany => {
                write!(f, "{name}: one more block than the {live} it may have live")
            }
            ViolationKind::Size => {
                write!(f, "{name}: a block of {size_bytes} bytes, outside its range")
            }
            ViolationKind::Align => write!(f, "{name}: a larger alignment than promised"),
            ViolationKind::FreedTooOften => {
                write!(f, "{name}: a block was freed that was never counted")
            }
        }
    }
}

/// Monitors a contract with one counter for each class. Every call is O(1) and allocates nothing.
///
/// As long as [`first_violation`](Self::first_violation) is `None`, no request can have failed in
/// the contract's safe pool.
///
/// ```
/// use core::alloc::Layout;
/// use evenfit_bound::{Class, Monitor, ViolationKind};
///
/// const PACKET: usize = 0;
/// let mut monitor = Monitor::new([Class {
///     name: "packet", min_bytes: 20, max_bytes: 1500, align_bytes: 8, most_live: 1,
/// }]);
/// let layout = Layout::from_size_align(60, 4)?;
/// monitor.allocated(PACKET, layout);
/// monitor.allocated(PACKET, layout);
/// let violation = monitor.first_violation().expect("two where one was promised");
/// assert_eq!((violation.name, violation.kind), ("packet", ViolationKind::TooMany));
/// # Ok::<(), core::alloc::LayoutError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Monitor<const CLASSES: usize> {
    classes: [Class; CLASSES],
    live: [u32; CLASSES],
    first: Option<Violation>,
}

impl<const CLASSES: usize> Monitor<CLASSES> {
    /// A monitor of a heap without live blocks.
    pub const fn new(classes: [Class; CLASSES]) -> Self {
        Self { classes, live: [0; CLASSES], first: None }
    }

    /// Counts an allocation of `class`. Call it also before a reallocation to `layout`, which may
    /// move the block, and [`freed`](Self::freed) after it for the old block. A class that isn't in
    /// the contract is ignored.
    pub fn allocated(&mut self, class: usize, layout: Layout) {
        let (Some(promise), Some(live)) = (self.classes.get(class), self.live.get_mut(class))
        else {
            return;
        };
        let kind = if *live >= promise.most_live {
            Some(ViolationKind::TooMany)
        } else if layout.size() < promise.min_bytes || layout.size() > promise.max_bytes {
            Some(ViolationKind::Size)
        } else if layout.align() > promise.align_bytes {
            Some(ViolationKind::Align)
        } else {
            None
        };
        let before = *live;
        *live = live.saturating_add(1);
        if let Some(kind) = kind {
            self.violated(class, kind, layout.size(), before);
        }
    }

    /// Counts a free of a block of `class`.
    pub fn freed(&mut self, class: usize) {
        let Some(live) = self.live.get_mut(class) else {
            return;
        };
        if *live == 0 {
            self.violated(class, ViolationKind::FreedTooOften, 0, 0);
        } else {
            *live -= 1;
        }
    }

    /// The first violation since the start, if there was one.
    pub const fn first_violation(&self) -> Option<Violation> {
        self.first
    }

    /// Blocks of `class` live now.
    pub fn live(&self, class: usize) -> u32 {
        self.live.get(class).copied().unwrap_or(0)
    }

    #[cold]
    fn violated(&mut self, class: usize, kind: ViolationKind, size_bytes: usize, live: u32) {
        let name = self.classes.get(class).map_or("", |promise| promise.name);
        if self.first.is_none() {
            self.first = Some(Violation { class, name, kind, size_bytes, live });
        }
    }
}
