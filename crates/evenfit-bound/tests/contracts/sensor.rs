// Generated from sensor.toml by `evenfit bound --rust`.
use evenfit_bound::{Class, Monitor};

/// Watches the contract; `first_violation` stays `None` while it is kept.
pub const fn monitor() -> Monitor<3> {
    Monitor::new(CONTRACT)
}

/// The class of `packet`.
pub const PACKET_0: usize = 0;
/// The class of `frame buffer`.
pub const FRAME_BUFFER_1: usize = 1;
/// The class of `timer`.
pub const TIMER_2: usize = 2;

pub const CONTRACT: [Class; 3] = [
    Class {
        name: "packet",
        min_bytes: 20,
        max_bytes: 1500,
        align_bytes: 8,
        most_live: 4,
    },
    Class {
        name: "frame buffer",
        min_bytes: 4096,
        max_bytes: 4096,
        align_bytes: 64,
        most_live: 2,
    },
    Class {
        name: "timer",
        min_bytes: 40,
        max_bytes: 40,
        align_bytes: 1,
        most_live: 32,
    },
];
