//! Reads compressed fixtures into memory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::Context as _;
use bytes::Bytes;
use lzma_rust2::XzReader;

/// The files of an archive by their path in it.
pub type Files = BTreeMap<String, Bytes>;

/// Unpacks a `.tar.xz` archive.
///
/// # Errors The file cannot be read, or it is not such an archive.
pub fn unpack(path: &Path) -> anyhow::Result<Files> {
    let file = File::open(path).with_context(|| path.display().to_string())?;
    let mut archive = tar::Archive::new(XzReader::new(file, true));
    let mut files = Files::new();
    for entry in archive.entries().with_context(|| path.display().to_string())? {
        let mut entry = entry.with_context(|| path.display().to_string())?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let name = entry.path()?.to_string_lossy().trim_start_matches("./").to_owned();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).with_context(|| format!("{}: {name}", path.display()))?;
        files.insert(name, content.into());
    }
    Ok(files)
}

/// Reads the files below a directory, as [`unpack`] does those of an archive.
///
/// # Errors A file or directory cannot be read.
pub fn read_folder(folder: &Path) -> anyhow::Result<Files> {
    let mut files = Files::new();
    let mut folders = vec![(String::new(), folder.to_owned())];
    while let Some((prefix, folder)) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            let name = format!("{prefix}{}", path.file_name().unwrap_or_default().to_string_lossy());
            if path.is_dir() {
                folders.push((format!("{name}/"), path));
            } else {
                let content = std::fs::read(&path).with_context(|| path.display().to_string())?;
                files.insert(name, content.into());
            }
        }
    }
    Ok(files)
}
