// Generated from contract.toml by `evenfit bound --rust`.
use evenfit_bound::{Class, Monitor};

/// Watches the contract; `first_violation` stays `None` while it is kept.
pub const fn monitor() -> Monitor<5> {
    Monitor::new(CONTRACT)
}

/// The class of `samples`.
pub const SAMPLES_0: usize = 0;
/// The class of `sentence`.
pub const SENTENCE_1: usize = 1;
/// The class of `workspace`.
pub const WORKSPACE_2: usize = 2;
/// The class of `frame`.
pub const FRAME_3: usize = 3;
/// The class of `queue`.
pub const QUEUE_4: usize = 4;

pub const CONTRACT: [Class; 5] = [
    Class {
        name: "samples",
        min_bytes: 16,
        max_bytes: 256,
        align_bytes: 2,
        most_live: 10,
    },
    Class {
        name: "sentence",
        min_bytes: 16,
        max_bytes: 96,
        align_bytes: 1,
        most_live: 6,
    },
    Class {
        name: "workspace",
        min_bytes: 392,
        max_bytes: 392,
        align_bytes: 1,
        most_live: 1,
    },
    Class {
        name: "frame",
        min_bytes: 8,
        max_bytes: 392,
        align_bytes: 1,
        most_live: 55,
    },
    Class {
        name: "queue",
        min_bytes: 64,
        max_bytes: 512,
        align_bytes: 4,
        most_live: 2,
    },
];
