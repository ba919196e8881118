//! What the programs for the emulated board share: the debugger's services and a counter of
//! instructions.
#![no_std]

pub mod host;
pub mod instructions;
pub mod oracle_memory;
