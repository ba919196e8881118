//! The probe as a program, for targets without shared libraries.
#![no_std]
#![no_main]

use size_probe as _;
