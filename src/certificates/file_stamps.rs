//! Detects changes of files.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Metadata of files by which a written or replaced file differs, without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileStamps(Vec<(PathBuf, Option<FileStamp>)>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileStamp {
    modified: (i64, i64),
    bytes: u64,
    inode: u64,
}

impl FileStamps {
    /// Reads the metadata of files, and of everything directly in directories. A missing file has none.
    pub(super) fn of<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Self {
        let mut stamps = Vec::new();
        for path in paths {
            let found = fs::metadata(path);
            if found.as_ref().is_ok_and(Metadata::is_dir) {
                let mut inside: Vec<PathBuf> =
                    fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
                inside.sort();
                stamps.extend(inside.into_iter().map(|path| {
                    let stamp = fs::metadata(&path).ok().map(|found| FileStamp::of(&found));
                    (path, stamp)
                }));
            } else {
                stamps.push((path.to_owned(), found.ok().map(|found| FileStamp::of(&found))));
            }
        }
        Self(stamps)
    }
}

impl FileStamp {
    fn of(found: &Metadata) -> Self {
        Self { modified: (found.mtime(), found.mtime_nsec()), bytes: found.len(), inode: found.ino() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_replaced_added_or_removed_is_noticed() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, inside) = (folder.path().join("file"), folder.path().join("inside"));
        fs::create_dir(&inside).expect("a folder");
        fs::write(&file, "old").expect("is written");
        let stamps = || FileStamps::of([file.as_path(), inside.as_path()]);
        let first = stamps();
        assert_eq!(stamps(), first);
        fs::write(folder.path().join("new"), "new").expect("is written");
        fs::rename(folder.path().join("new"), &file).expect("is replaced");
        let second = stamps();
        assert_ne!(second, first, "the same length, and perhaps the same time");
        fs::write(inside.join("key"), "key").expect("is written");
        let third = stamps();
        assert_ne!(third, second);
        fs::remove_file(&file).expect("is removed");
        assert_ne!(stamps(), third);
    }
}
