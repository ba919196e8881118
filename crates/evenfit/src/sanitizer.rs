//! What AddressSanitizer (feature `asan`) and Valgrind (feature `valgrind`) are told of a pool.
//!
//! To them a pool is one array that its program may touch everywhere. Here they learn which bytes of it belong to a
//! live block, to the byte as asked for; all else is out of bounds, so a use after free or an overrun inside the pool is
//! reported where it happens. The heap tells them where a block is handed out ([`Watch::allocated`]) and where one ends or changes
//! ([`Old`]), and reads and writes what free blocks hold by [`own`].
//!
//! So that nobody may use what was not asked for, a slice returned is then just as long as the request, and
//! `usable_size` says the same. Without the features each function here is empty, and [`Watch`] and [`Old`] hold nothing.

#[cfg(not(any(feature = "asan", feature = "valgrind")))]
mod off;
#[cfg(any(feature = "asan", feature = "valgrind"))]
mod on;

#[cfg(not(any(feature = "asan", feature = "valgrind")))]
use self::off as watchers;
#[cfg(any(feature = "asan", feature = "valgrind"))]
use self::on as watchers;

#[cfg(feature = "move-down")]
pub(crate) use self::watchers::moving;
pub(crate) use self::watchers::{Old, Watch, hidden, own, requested};

#[cfg(feature = "asan")]
mod asan;
#[cfg(feature = "valgrind")]
mod valgrind;
