//! What commands read and write: files, or standard input and output.

use std::io::{self, Read as _, Write as _};
use std::path::Path;

use anyhow::Context as _;

/// The whole file, or standard input.
pub(super) fn read(file: Option<&Path>) -> anyhow::Result<Vec<u8>> {
    if let Some(file) = file {
        return std::fs::read(file).with_context(|| format!("read {}", file.display()));
    }
    let mut bytes = Vec::new();
    io::stdin().lock().read_to_end(&mut bytes).context("read standard input")?;
    Ok(bytes)
}

/// Into the file, which is replaced, or to standard output. Whoever reads that may have seen enough.
pub(super) fn write(file: Option<&Path>, bytes: &[u8]) -> anyhow::Result<()> {
    if let Some(file) = file {
        return std::fs::write(file, bytes).with_context(|| format!("write {}", file.display()));
    }
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error).context("write standard output"),
        _ => Ok(()),
    }
}
