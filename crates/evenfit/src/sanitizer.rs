//! What AddressSanitizer (feature `asan`) and Valgrind (feature `valgrind`) are told about a pool.
//!
//! Without this, a pool is one array to them, which its program may access everywhere. Here they
//! learn which bytes of it belong to a live block, up to the byte requested. Everything else is
//! *poisoned*: no access is allowed. So a use after free or an overrun inside the pool is reported
//! where it happens. The heap tells them when a block is allocated ([`SanitizedPool::allocated`])
//! and when one is freed or changed ([`OldBlock`]), and accesses the content of free blocks by
//! [`access_free`].
//!
//! A slice returned is then exactly as long as the request, so that nobody may use more, and
//! `usable_size` says the same. Without the features each function here does nothing, and
//! [`SanitizedPool`] and [`OldBlock`] are empty.

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
