//! What AddressSanitizer (feature `asan`) and Valgrind (feature `valgrind`) are told of a pool.
//!
//! To them a pool is one array that its program may touch everywhere. Here they learn which bytes of it belong to a
//! live block, to the byte as asked for; all else is out of bounds, so a use after free or an overrun inside the pool is
//! reported where it happens. The heap tells them at its public operations, and reads and writes the links of free
//! blocks by [`own`].
//!
//! So that nobody may use what was not asked for, a slice returned is then just as long as the request, and
//! `usable_size` says the same. Without the features each function here is empty, and [`Watch`] holds nothing.

#[cfg(not(any(feature = "asan", feature = "valgrind")))]
pub(crate) use self::off::{Watch, freeing, opened, own, reallocating, requested};
#[cfg(any(feature = "asan", feature = "valgrind"))]
pub(crate) use self::on::{Watch, freeing, opened, own, reallocating, requested};

#[cfg(feature = "asan")]
mod asan;
#[cfg(not(any(feature = "asan", feature = "valgrind")))]
mod off;
#[cfg(any(feature = "asan", feature = "valgrind"))]
mod on;
#[cfg(feature = "valgrind")]
mod valgrind;
