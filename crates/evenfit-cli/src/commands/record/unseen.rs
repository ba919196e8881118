//! Why a program can't be recorded, as its file tells.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use object::{File, Object as _, ObjectSymbol as _};

/// The reason, if the file of the program, or of the interpreter that it names, has one.
pub fn reason_of_file(program: &OsStr) -> Option<String> {
    let mut path = find(program)?;
    let mut bytes = fs::read(&path).ok()?;
    // A script names its interpreter, which may be a script again.
    for _ in 0..4 {
        let Some(line) = bytes.strip_prefix(b"#!") else { break };
        let line = line.split(|&byte| byte == b'\n').next().unwrap_or_default();
        let mut words = line.split(|byte| b" \t".contains(byte)).filter(|word| !word.is_empty());
        let mut interpreter = PathBuf::from(OsStr::from_bytes(words.next()?));
        if interpreter.file_name() == Some(OsStr::new("env")) {
            interpreter = find(OsStr::from_bytes(words.next()?))?;
        }
        path = interpreter;
        bytes = fs::read(&path).ok()?;
    }
    let name = path.display();
    let file = File::parse(&*bytes).ok()?;
    if let Some(sanitizer) = sanitizer(&file) {
        return Some(format!(
            "{name} is built with {sanitizer}, which has a malloc of its own: build it without"
        ));
    }
    if file.section_by_name(".interp").is_none() {
        return Some(format!("{name} is statically linked, so it loads no library"));
    }
    if has_rights_of_its_own(&path) {
        return Some(format!(
            "{name} runs with the rights of its file (set-user-id, set-group-id or capabilities), so it \
             loads no foreign library"
        ));
    }
    defines(&file, "malloc").then(|| format!("{name} has a malloc of its own inside"))
}

/// The file that a shell would run.
fn find(program: &OsStr) -> Option<PathBuf> {
    let path = Path::new(program);
    if program.as_bytes().contains(&b'/') {
        return Some(path.to_owned());
    }
    let folders = env::var_os("PATH")?;
    env::split_paths(&folders).map(|folder| folder.join(path)).find(|path| path.is_file())
}

/// Whether the kernel starts it in secure mode.
fn has_rights_of_its_own(path: &Path) -> bool {
    let set_ids = libc::S_ISUID | libc::S_ISGID;
    let is_set = fs::metadata(path).is_ok_and(|data| data.mode() & set_ids != 0);
    is_set || has_capabilities(path)
}

fn has_capabilities(path: &Path) -> bool {
    let Ok(path) = std::ffi::CString::new(path.as_os_str().as_bytes()) else { return false };
    // SAFETY: both are C strings, and nothing is written.
    let len = unsafe {
        let name = c"security.capability".as_ptr();
        libc::getxattr(path.as_ptr(), name, std::ptr::null_mut(), 0)
    };
    len > 0
}

fn sanitizer(file: &File<'_>) -> Option<&'static str> {
    let known = [
        ("__asan_init", "AddressSanitizer"),
        ("__hwasan_init", "HWAddressSanitizer"),
        ("__tsan_init", "ThreadSanitizer"),
        ("__msan_init", "MemorySanitizer"),
        ("__lsan_init", "LeakSanitizer"),
    ];
    let named = |name: &str| {
        file.symbols().chain(file.dynamic_symbols()).any(|symbol| symbol.name() == Ok(name))
    };
    known.into_iter().find(|(symbol, _)| named(symbol)).map(|(_, name)| name)
}

fn defines(file: &File<'_>, name: &str) -> bool {
    let mut symbols = file.symbols().chain(file.dynamic_symbols());
    symbols.any(|symbol| symbol.is_definition() && symbol.name() == Ok(name))
}
