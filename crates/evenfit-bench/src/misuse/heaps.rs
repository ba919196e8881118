//! The allocators by name. They are those that are measured, except that evenfit has slabs, which
//! `Auto` has not in a pool of 256 KiB.

use evenfit::{Standard, WithSlabs};

use crate::peers::evenfit_heap::Evenfit;
use crate::peers::{self, About, Class, Visitor};

/// Calls `visitor` with the allocator of that name; `None` if there is none.
pub fn with<V: Visitor>(name: &str, visitor: &mut V) -> Option<V::Out> {
    if name != "evenfit-slabs" {
        return peers::with(name, visitor);
    }
    Some(visitor.visit::<Evenfit<WithSlabs, Standard>>(About {
        name: "evenfit-slabs",
        class: Class::Pool,
        bounded: true,
        outside_bytes: size_of::<Evenfit<WithSlabs, Standard>>(),
    }))
}
