//! What allocators do on misuse and when memory was overwritten: evenfit beside its peers.
//!
//! Each case runs in a child process: it may hang or crash. The child prints one word of
//! [`Outcome`](outcome::Outcome); the parent adds crashes and hangs. The outcome is judged from
//! outside, by the bytes of the region and by the results of a long sequence of requests
//! afterwards.

pub mod case;
pub mod children;
pub mod heaps;
pub mod metadata;
pub mod outcome;
pub mod probe;
pub mod table;
