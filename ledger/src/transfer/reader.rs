//! Files of blocks, read from the first block to the last, one at a time.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufReader, Read as _};
use std::path::{Path, PathBuf};

use bytes::BufMut as _;
use orderer_core::block::{BlockError, EncodedBlock};

use super::error::TransferError;
use super::fabric_block::{self, InvalidBlock};
use super::{BLOCK_FILE_PREFIX, FileLayout};

/// A varint has no more bytes.
const VARINT_MAX_BYTES: usize = 10;
/// Name of a file in a directory whose block files do not begin with block 0.
const SNAPSHOT_FILE: &str = "bootstrappingSnapshot.info";

/// Reads blocks in order.
#[derive(Debug)]
pub struct BlockReader {
    path: PathBuf,
    layout: FileLayout,
    files: VecDeque<PathBuf>,
    current: Option<Current>,
    torn: Option<TornTail>,
    read_bytes: u64,
}

#[derive(Debug)]
struct Current {
    path: PathBuf,
    file: BufReader<File>,
    at: u64,
    length: u64,
}

/// The rest of a block that a Fabric orderer was writing when it was killed. Fabric reports no block before it is whole, and
/// cuts the rest off when it starts again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The file.
    pub path: PathBuf,
    /// Start of the block, in bytes from the beginning of the file.
    pub offset: u64,
    /// Number of its bytes that are there.
    pub bytes: u64,
}

/// The contents of files, as far as they can be known without reading the blocks.
#[derive(Clone, Debug)]
pub struct BlockFileSummary {
    /// Number of blocks.
    pub blocks: u64,
    /// Size of the files.
    pub bytes: u64,
    /// The first block.
    pub first: EncodedBlock,
    /// The last block.
    pub last: EncodedBlock,
    /// The rest of a torn block behind them, which is left out.
    pub torn: Option<TornTail>,
}

impl BlockReader {
    /// Creates a reader of a plain file.
    pub fn plain(path: &Path) -> Self {
        Self::new(path, FileLayout::Plain, [path.to_owned()].into())
    }

    /// Creates a reader of a channel's directory of block files in the form of Fabric, `chains/<channel>`.
    pub fn fabric(folder: &Path) -> Result<Self, TransferError> {
        if folder.join(SNAPSHOT_FILE).exists() {
            return Err(TransferError::Snapshot { path: folder.to_owned() });
        }
        let failed = |cause| TransferError::Io { path: folder.to_owned(), action: "list the folder", cause };
        let mut last = None;
        for entry in fs::read_dir(folder).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix(BLOCK_FILE_PREFIX)?.parse::<u64>().ok());
            last = last.max(number);
        }
        let mut files = VecDeque::new();
        for number in 0..last.map_or(0, |last| last.saturating_add(1)) {
            let path = folder.join(format!("{BLOCK_FILE_PREFIX}{number:06}"));
            if !path.exists() {
                return Err(TransferError::Gap { path });
            }
            files.push_back(path);
        }
        Ok(Self::new(folder, FileLayout::Fabric, files))
    }

    fn new(path: &Path, layout: FileLayout, files: VecDeque<PathBuf>) -> Self {
        Self { path: path.to_owned(), layout, files, current: None, torn: None, read_bytes: 0 }
    }

    /// The file, or the folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns whether blocks may be missing that were pruned: Fabric's orderers keep them all.
    pub fn may_be_pruned(&self) -> bool {
        self.layout == FileLayout::Plain
    }

    /// Returns the number of bytes read so far.
    pub fn read_bytes(&self) -> u64 {
        self.read_bytes
    }

    /// Goes through the files from one length to the next, and reads the first block and the last. For callers that have to
    /// know that the files are whole before anything is created from them.
    ///
    /// # Errors
    /// They are not whole, or hold no block.
    pub fn survey(mut self) -> Result<BlockFileSummary, TransferError> {
        let (mut blocks, mut first, mut last) = (0, None, None);
        while let Some(length) = self.next_length()? {
            if blocks == 0 {
                first = Some(self.read_block(length)?);
            } else {
                let Some(current) = &mut self.current else { break };
                last = Some((current.path.clone(), current.at, length));
                self.skip(length)?;
            }
            blocks += 1;
        }
        let bytes = self.read_bytes;
        let Some(first) = first else { return Err(TransferError::Empty { path: self.path }) };
        let last = match last {
            None => first.clone(),
            Some((path, at, length)) => {
                self.current = Some(Current::open(path, at)?);
                self.read_block(length)?
            }
        };
        Ok(BlockFileSummary { blocks, bytes, first, last, torn: self.torn })
    }

    /// Returns what was left out at the end, once the reader has reached it.
    pub fn torn(&self) -> Option<&TornTail> {
        self.torn.as_ref()
    }

    /// The next block; none behind the last.
    #[expect(clippy::should_implement_trait, reason = "an error ends nothing: a caller has to look at each")]
    pub fn next(&mut self) -> Result<Option<EncodedBlock>, TransferError> {
        match self.next_length()? {
            Some(length) => self.read_block(length).map(Some),
            None => Ok(None),
        }
    }

    /// Length of the next block, which is all there.
    fn next_length(&mut self) -> Result<Option<u64>, TransferError> {
        loop {
            if self.torn.is_some() {
                return Ok(None);
            }
            let Some(current) = &mut self.current else {
                let Some(path) = self.files.pop_front() else { return Ok(None) };
                self.current = Some(Current::open(path, 0)?);
                continue;
            };
            let (offset, left) = (current.at, current.length - current.at);
            if left == 0 {
                self.current = None;
                continue;
            }
            let found = current.read_varint()?;
            match found {
                Varint::Number(length, bytes) if length <= left - bytes => {
                    self.read_bytes += bytes;
                    return Ok(Some(length));
                }
                Varint::Bad => {
                    let (path, problem) = (current.path.clone(), "its length is no number");
                    return Err(TransferError::Layout { path, offset, problem });
                }
                Varint::Number(..) | Varint::Short => {
                    let path = current.path.clone();
                    if self.layout == FileLayout::Plain || !self.files.is_empty() {
                        return Err(TransferError::Torn { path, offset });
                    }
                    self.torn = Some(TornTail { path, offset, bytes: left });
                }
            }
        }
    }

    fn read_block(&mut self, length: u64) -> Result<EncodedBlock, TransferError> {
        let Some(current) = &mut self.current else {
            return Err(TransferError::Empty { path: self.path.clone() });
        };
        let (path, offset) = (current.path.clone(), current.at);
        let io = |cause| TransferError::Io { path: path.clone(), action: "read", cause };
        // no block is larger than what one message can carry
        let Some(length) = u32::try_from(length).ok().and_then(|length| usize::try_from(length).ok()) else {
            return Err(TransferError::Layout { path, offset, problem: "it is too large" });
        };
        current.at += length as u64;
        self.read_bytes += length as u64;
        let no_block = |cause| TransferError::Block { path: path.clone(), offset, cause };
        match self.layout {
            FileLayout::Plain => EncodedBlock::read_from::<ReadFailure>(length, |buffer| {
                let begin = buffer.len();
                buffer.put_bytes(0, length);
                current.file.read_exact(&mut buffer[begin..]).map_err(ReadFailure::Io)
            })
            .map_err(|failed| match failed {
                ReadFailure::Io(cause) => io(cause),
                ReadFailure::Block(cause) => no_block(cause),
            }),
            FileLayout::Fabric => {
                let mut bytes = vec![0; length];
                current.file.read_exact(&mut bytes).map_err(io)?;
                fabric_block::decode(bytes.into()).map_err(|error| match error {
                    InvalidBlock::Block(cause) => no_block(cause),
                    InvalidBlock::Layout(problem) => TransferError::Layout { path: path.clone(), offset, problem },
                })
            }
        }
    }

    fn skip(&mut self, length: u64) -> Result<(), TransferError> {
        let Some(current) = &mut self.current else { return Ok(()) };
        let io = |cause| TransferError::Io { path: current.path.clone(), action: "read", cause };
        // the file is as long as that
        let distance = i64::try_from(length).map_err(|e| io(io::Error::other(e)))?;
        current.file.seek_relative(distance).map_err(io)?;
        current.at += length;
        self.read_bytes += length;
        Ok(())
    }
}

enum ReadFailure {
    Io(io::Error),
    Block(BlockError),
}

impl From<BlockError> for ReadFailure {
    fn from(error: BlockError) -> Self {
        Self::Block(error)
    }
}

enum Varint {
    /// The number, and the bytes that it had.
    Number(u64, u64),
    /// The file ends before it does.
    Short,
    Bad,
}

impl Current {
    fn open(path: PathBuf, at: u64) -> Result<Self, TransferError> {
        let opened = || -> io::Result<(BufReader<File>, u64)> {
            let file = File::open(&path)?;
            let length = file.metadata()?.len();
            let mut file = BufReader::with_capacity(64 << 10, file);
            file.seek_relative(i64::try_from(at).map_err(io::Error::other)?)?;
            Ok((file, length))
        };
        match opened() {
            Ok((file, length)) => Ok(Self { path, file, at, length }),
            Err(cause) => Err(TransferError::Io { path, action: "open", cause }),
        }
    }

    fn read_varint(&mut self) -> Result<Varint, TransferError> {
        let mut number = 0;
        for place in 0..VARINT_MAX_BYTES {
            if self.at == self.length {
                return Ok(Varint::Short);
            }
            let mut byte = [0];
            let read = self.file.read_exact(&mut byte);
            read.map_err(|cause| TransferError::Io { path: self.path.clone(), action: "read", cause })?;
            self.at += 1;
            // what the tenth byte has too much is lost, and so is the number: it is none that a file can have
            number |= u64::from(byte[0] & 0x7f) << (7 * place);
            if byte[0] & 0x80 == 0 {
                return Ok(Varint::Number(number, place as u64 + 1));
            }
        }
        Ok(Varint::Bad)
    }
}
