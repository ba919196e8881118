//! Writing files that a user named: whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, Once, PoisonError};

use crate::output::InputError;

/// The most symbolic links that are followed; a longer chain is a circle.
const LINKS_MAX: usize = 40;

/// Whether this name means standard output.
pub fn is_stdout(path: &Path) -> bool {
    ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"].iter().any(|name| path == Path::new(name))
}

/// Writes the file at `path`.
///
/// A regular file, also one that a symbolic link leads to, is written beside the old one and
/// renamed. So it is either complete or unchanged. Its permissions and the link stay. Devices,
/// pipes and sockets are written directly. `-` and `/dev/stdout` are standard output.
///
/// # Errors
/// A sentence that names the file and what the operating system says.
pub fn write(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), InputError> {
    match try_write(path, write) {
        // The reader has closed the pipe.
        Err(error) if error.kind() == ErrorKind::BrokenPipe && is_stdout(path) => Ok(()),
        Err(error) => Err(InputError(format!("can't write {}: {error}", path.display()))),
        Ok(()) => Ok(()),
    }
}

/// As [`write`], but an existing regular file is an error unless `force` says that it may be lost.
///
/// # Errors
/// As for `write`.
pub fn write_new(
    path: &Path,
    force: bool,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), InputError> {
    if !force && fs::metadata(path).is_ok_and(|found| found.is_file()) {
        return Err(InputError(format!(
            "{} exists: --force replaces it, or choose another name",
            path.display()
        )));
    }
    self::write(path, write)
}

fn try_write(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    if is_stdout(path) {
        return buffered(io::stdout().lock(), write);
    }
    let existing = match fs::metadata(path) {
        Ok(existing) => Some(existing),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    match existing {
        Some(existing) if existing.is_dir() => Err(ErrorKind::IsADirectory.into()),
        Some(existing) if !existing.is_file() || is_descriptor(path) => {
            buffered(through(path, &existing)?, write)
        }
        existing => replace(&followed(path)?, existing.as_ref(), write),
    }
}

fn buffered(
    out: impl Write,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let mut out = BufWriter::new(out);
    write(&mut out)?;
    out.flush()
}

/// Whether the name stands for an open descriptor, which is written to as it is.
fn is_descriptor(path: &Path) -> bool {
    let target = fs::read_link(path).unwrap_or_default();
    [path, &target].iter().any(|path| path.starts_with("/dev/fd") || path.starts_with("/proc"))
}

/// Opens something that isn't a regular file for writing.
fn through(path: &Path, existing: &fs::Metadata) -> io::Result<Box<dyn Write>> {
    #[cfg(unix)]
    if std::os::unix::fs::FileTypeExt::is_socket(&existing.file_type()) {
        return Ok(Box::new(std::os::unix::net::UnixStream::connect(path)?));
    }
    let _ = existing;
    Ok(Box::new(OpenOptions::new().write(true).open(path)?))
}

/// Where a chain of symbolic links leads, also to what isn't there yet.
fn followed(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        let Ok(target) = fs::read_link(&path) else { return Ok(path) };
        path = path.with_file_name("").join(target);
    }
    Err(io::Error::other("too many symbolic links"))
}

fn replace(
    path: &Path,
    existing: Option<&fs::Metadata>,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    if existing.is_some() {
        // A file that must not be written must not be replaced either.
        OpenOptions::new().append(true).open(path)?;
    }
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".evenfit-").suffix(".part");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let unfinished = Unfinished::begin(|| builder.tempfile_in(folder))?;
    let file = unfinished.file.as_file();
    if let Some(existing) = existing {
        file.set_permissions(existing.permissions())?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt as _;
            // Root keeps the owner; others own what they write.
            let _ = std::os::unix::fs::fchown(file, Some(existing.uid()), Some(existing.gid()));
        }
    }
    buffered(file, write)?;
    unfinished.finish(path)
}

/// The file that is being written, for the case that a signal ends this process: its destructor
/// doesn't run then.
static UNFINISHED: Mutex<Option<PathBuf>> = Mutex::new(None);

struct Unfinished {
    file: tempfile::NamedTempFile<File>,
}

impl Unfinished {
    fn begin(
        create: impl FnOnce() -> io::Result<tempfile::NamedTempFile<File>>,
    ) -> io::Result<Self> {
        remove_when_interrupted();
        let mut unfinished = UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner);
        let file = create()?;
        *unfinished = Some(file.path().to_owned());
        Ok(Self { file })
    }

    fn finish(self, path: &Path) -> io::Result<()> {
        let mut unfinished = UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner);
        self.file.persist(path).map_err(|error| error.error)?;
        *unfinished = None;
        Ok(())
    }
}

/// Removes the unfinished file when a signal asks this process to end, and ends it as the signal
/// does.
#[cfg(unix)]
fn remove_when_interrupted() {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let mut ending = vec![SIGHUP, SIGINT, SIGQUIT, SIGTERM];
        // What is ignored ends nothing.
        #[cfg(target_os = "linux")]
        ending.retain(|&signal| !crate::signals::is_ignored(signal).unwrap_or(false));
        let Ok(mut signals) = signal_hook::iterator::Signals::new(ending) else { return };
        std::thread::spawn(move || {
            for signal in signals.forever() {
                let unfinished = UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(path) = &*unfinished {
                    let _ = fs::remove_file(path);
                }
                // The lock stays acquired, so that nothing is renamed any more.
                let _ = signal_hook::low_level::emulate_default_handler(signal);
            }
        });
    });
}

#[cfg(not(unix))]
fn remove_when_interrupted() {}
