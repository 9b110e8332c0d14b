//! Files of blocks, written under another name until they are whole.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use orderer_core::block::EncodedBlock;
use prost::encoding::encode_varint;

use super::error::TransferError;
use super::{BLOCK_FILE_PREFIX, FileLayout, fabric_block};

/// A file does not grow beyond this if it has a block already.
const FABRIC_FILE_MAX_BYTES: u64 = 64 << 20;
/// Prefix of the names of files and directories that are not whole yet.
const UNFINISHED_PREFIX: &str = ".unfinished.";
const FILE_NAME_MAX_BYTES: usize = 255;
/// Folder of the channels' folders.
const CHAINS: &str = "chains";

/// Writes blocks in order, for [`BlockReader`](super::BlockReader) and for Fabric's orderers.
#[derive(Debug)]
pub struct BlockFileWriter {
    layout: FileLayout,
    /// File or folder, while it is not whole.
    unfinished: PathBuf,
    target: PathBuf,
    file: BufWriter<File>,
    file_number: u64,
    file_bytes: u64,
    is_finished: bool,
}

impl BlockFileWriter {
    /// A plain file.
    pub fn plain(target: &Path) -> Result<Self, TransferError> {
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let unfinished = target.with_file_name(unfinished_name(&name));
        refuse_existing(target)?;
        let file = make_file(&unfinished)?;
        let target = target.to_owned();
        Ok(Self {
            layout: FileLayout::Plain,
            unfinished,
            target,
            file,
            file_number: 0,
            file_bytes: 0,
            is_finished: false,
        })
    }

    /// The block files of a channel in a folder of ledgers in the form of Fabric, which need not be there. A Fabric
    /// orderer makes its index of them when it starts.
    pub fn fabric(ledgers: &Path, channel: &str) -> Result<Self, TransferError> {
        let target = ledgers.join(CHAINS).join(channel);
        // not among the channels: an orderer would take it for one
        let unfinished = ledgers.join(unfinished_name(channel));
        refuse_existing(&target)?;
        let prepared = || -> io::Result<()> {
            fs::create_dir_all(ledgers.join(CHAINS))?;
            if unfinished.exists() {
                fs::remove_dir_all(&unfinished)?;
            }
            fs::create_dir(&unfinished)
        };
        prepared().map_err(|cause| failed(&unfinished, "make the folder", cause))?;
        let file = make_file(&block_file(&unfinished, 0))?;
        Ok(Self {
            layout: FileLayout::Fabric,
            unfinished,
            target,
            file,
            file_number: 0,
            file_bytes: 0,
            is_finished: false,
        })
    }

    /// Writes the next block.
    pub fn write(&mut self, block: &EncodedBlock) -> Result<(), TransferError> {
        let bytes = match self.layout {
            FileLayout::Plain => block.block_bytes(),
            FileLayout::Fabric => fabric_block::encode(block).into(),
        };
        let mut length = Vec::with_capacity(10);
        encode_varint(bytes.len() as u64, &mut length);
        let total = (length.len() + bytes.len()) as u64;
        if self.layout == FileLayout::Fabric && self.file_bytes > 0 && self.file_bytes + total > FABRIC_FILE_MAX_BYTES {
            self.sync()?;
            self.file_number += 1;
            self.file_bytes = 0;
            self.file = make_file(&block_file(&self.unfinished, self.file_number))?;
        }
        let written = self.file.write_all(&length).and_then(|()| self.file.write_all(&bytes));
        written.map_err(|cause| failed(&self.unfinished, "write", cause))?;
        self.file_bytes += total;
        Ok(())
    }

    /// Makes what was written durable and gives it its name.
    pub fn finish(mut self) -> Result<(), TransferError> {
        self.sync()?;
        refuse_existing(&self.target)?;
        let mut named = || -> io::Result<()> {
            if self.layout == FileLayout::Fabric {
                File::open(&self.unfinished)?.sync_all()?;
            }
            fs::rename(&self.unfinished, &self.target)?;
            self.is_finished = true;
            sync_folder_of(&self.target)?;
            // that of the channels' folder, which may be new
            if self.layout == FileLayout::Fabric { sync_folder_of(&self.unfinished) } else { Ok(()) }
        };
        named().map_err(|cause| failed(&self.target, "give its name to", cause))
    }

    fn sync(&mut self) -> Result<(), TransferError> {
        let synced = self.file.flush().and_then(|()| self.file.get_ref().sync_all());
        synced.map_err(|cause| failed(&self.unfinished, "write", cause))
    }
}

impl Drop for BlockFileWriter {
    /// Removes an unfinished output, as far as that can be done; the next writer replaces what a crash leaves.
    fn drop(&mut self) {
        if !self.is_finished {
            let _ = match self.layout {
                FileLayout::Plain => fs::remove_file(&self.unfinished),
                FileLayout::Fabric => fs::remove_dir_all(&self.unfinished),
            };
        }
    }
}

/// Returns the name with its prefix, cut to the length that file systems allow.
fn unfinished_name(name: &str) -> String {
    let mut name = format!("{UNFINISHED_PREFIX}{name}");
    while name.len() > FILE_NAME_MAX_BYTES {
        name.pop();
    }
    name
}

fn block_file(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{BLOCK_FILE_PREFIX}{number:06}"))
}

fn make_file(path: &Path) -> Result<BufWriter<File>, TransferError> {
    let made = File::create(path).map_err(|cause| failed(path, "make the file", cause))?;
    Ok(BufWriter::with_capacity(256 << 10, made))
}

fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

fn refuse_existing(target: &Path) -> Result<(), TransferError> {
    if target.exists() { Err(TransferError::Exists { path: target.to_owned() }) } else { Ok(()) }
}

fn failed(path: &Path, action: &'static str, cause: io::Error) -> TransferError {
    TransferError::Io { path: path.to_owned(), action, cause }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_finished_leaves_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        drop(BlockFileWriter::plain(&folder.path().join("blocks")).expect("begun"));
        drop(BlockFileWriter::fabric(folder.path(), "app").expect("begun"));
        let left: Vec<_> = fs::read_dir(folder.path()).expect("readable").flatten().map(|e| e.file_name()).collect();
        assert_eq!(left, [CHAINS]);
    }

    #[test]
    fn the_longest_names_can_be_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let channel = "x".repeat(249);
        BlockFileWriter::fabric(folder.path(), &channel).and_then(BlockFileWriter::finish).expect("is written");
        let file = folder.path().join(format!("{}ö", "x".repeat(253)));
        BlockFileWriter::plain(&file).and_then(BlockFileWriter::finish).expect("is written");
        assert!(file.exists() && folder.path().join(CHAINS).join(channel).is_dir());
    }
}
