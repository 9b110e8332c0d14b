//! Reads and writes the files of commands, or standard input and output.

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use anyhow::Context as _;

/// Reads the whole file, or standard input.
pub fn read(file: Option<&Path>) -> anyhow::Result<Vec<u8>> {
    if let Some(file) = file {
        return std::fs::read(file).with_context(|| format!("read {}", file.display()));
    }
    let mut bytes = Vec::new();
    io::stdin().lock().read_to_end(&mut bytes).context("read standard input")?;
    Ok(bytes)
}

/// Prints a line on standard output. An error is ignored, since it could not be reported.
pub fn say(line: fmt::Arguments<'_>) {
    let mut out = io::stdout().lock();
    let _ = out.write_fmt(line).and_then(|()| out.write_all(b"\n"));
}

/// Writes a file, which is complete before it replaces an existing one, or standard output. A closed pipe is no
/// error, since its reader may have read enough.
pub fn write(file: Option<&Path>, bytes: &[u8]) -> anyhow::Result<()> {
    if let Some(file) = file {
        return replace(file, bytes).with_context(|| format!("write {}", file.display()));
    }
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error).context("write standard output"),
        _ => Ok(()),
    }
}

/// Replaces a file so that a full disk or a crash leaves it as it was, because it may contain signatures that are
/// hard to get again.
fn replace(file: &Path, bytes: &[u8]) -> io::Result<()> {
    // a link is followed; a device or a pipe cannot be replaced
    if std::fs::symlink_metadata(file).is_ok_and(|known| !known.is_file()) {
        return std::fs::write(file, bytes);
    }
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut beside = tempfile::Builder::new().permissions(permissions(file)).tempfile_in(folder)?;
    beside.write_all(bytes)?;
    beside.as_file().sync_all()?;
    beside.persist(file)?;
    Ok(())
}

/// Returns the permissions of the existing file, or those of any new file.
fn permissions(file: &Path) -> std::fs::Permissions {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(file).map_or_else(|_| std::fs::Permissions::from_mode(0o666), |known| known.permissions())
}
