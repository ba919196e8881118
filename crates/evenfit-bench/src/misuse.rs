//! What allocators answer to misuse and to overwritten memory, evenfit beside its peers.
//!
//! Each case runs in a child process: it may hang or crash. The child prints one word of
//! [`Outcome`](outcome::Outcome); the parent adds what only it can see. Whether an answer was good
//! is judged from outside, by the bytes of the region and by what a long sequence of requests gets
//! afterwards.

pub mod case;
pub mod children;
pub mod heaps;
pub mod metadata;
pub mod outcome;
pub mod probe;
pub mod table;
