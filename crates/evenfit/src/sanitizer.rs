//! What AddressSanitizer (feature `asan`) and Valgrind (feature `valgrind`) are told of a pool.
//!
//! To them a pool is one array that its program may touch everywhere. Here they learn which bytes of it belong to a
//! live block, to the byte as asked for; all else is out of bounds, so a use after free or an overrun inside the pool is
//! reported where it happens. The heap tells them where a block is handed out ([`SanitizedPool::allocated`]) and where one ends or changes
//! ([`OldBlock`]), and reads and writes what free blocks hold by [`access_free`].
//!
//! So that nobody may use what was not asked for, a slice returned is then just as long as the request, and
//! `usable_size` says the same. Without the features each function here is empty, and [`SanitizedPool`] and [`OldBlock`] hold nothing.

#[cfg(any(feature = "asan", feature = "valgrind"))]
mod active;
#[cfg(not(any(feature = "asan", feature = "valgrind")))]
mod inactive;

#[cfg(any(feature = "asan", feature = "valgrind"))]
use self::active as imp;
#[cfg(not(any(feature = "asan", feature = "valgrind")))]
use self::inactive as imp;

#[cfg(feature = "move-down")]
pub(crate) use self::imp::unpoison_move;
pub(crate) use self::imp::{OldBlock, SanitizedPool, access_free, hide, requested_bytes};

#[cfg(feature = "asan")]
mod asan;
#[cfg(feature = "valgrind")]
mod valgrind;
