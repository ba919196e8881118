//! The malloc family served by glibc, each call recorded on its way.

use core::ffi::{CStr, c_void};

mod clock;
pub mod family;
mod modules;
pub mod session;
mod sites;
mod threads;

/// Looks up at load what is needed later. What the loader allocates for it is not the program's, and
/// is not recorded.
pub fn prepare() {
    session::unrecorded(clock::find);
    session::unrecorded(modules::find);
    modules::note_all();
}

/// The C library's own function of that name, whatever other libraries wrap; null if there is none.
fn libc_function(name: &CStr) -> *mut c_void {
    // SAFETY: the C library is loaded already; both names are C strings.
    unsafe {
        let library = libc::dlopen(c"libc.so.6".as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD);
        libc::dlsym(library, name.as_ptr())
    }
}
