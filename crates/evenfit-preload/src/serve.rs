//! The malloc family served from one pool.

pub mod family;
pub mod memory;
mod reserve;
pub mod statistics;
pub mod summary;
