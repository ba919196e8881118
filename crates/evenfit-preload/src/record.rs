//! The malloc family served by glibc, each call recorded on its way.

pub mod family;
mod file;
pub mod session;
mod table;
