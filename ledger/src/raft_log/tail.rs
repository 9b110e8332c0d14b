//! Whether what is behind the last whole row is a row that was torn when the power went, or one that was damaged.
//!
//! A row is written into zeros, and the disk writes sectors: of a row that was torn a sector is still zero, or it breaks
//! off. Nobody was told of such a row. What is all there, but not what was written, was changed afterwards.

use std::io;

use crate::sealed::{HEADER_BYTES, SealedFile};

/// What a disk writes at once.
const SECTOR_BYTES: u64 = 512;
const PIECE_BYTES: u64 = 64 << 10;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// Nothing but zeros.
    Clean,
    Torn,
    Damaged,
}

pub(super) fn judge(file: &SealedFile, end: u64) -> io::Result<Tail> {
    let length = file.length();
    let first = read(file, end, (end + SECTOR_BYTES).min(length))?;
    let first_is_zero = first.iter().all(|&byte| byte == 0);
    if let Some((header, _)) = file.header_at(end)? {
        let row_end = end.saturating_add(HEADER_BYTES as u64).saturating_add(header.rest_bytes());
        let whole = row_end <= length && !has_gap(file, end, row_end)?;
        return Ok(if whole { Tail::Damaged } else { Tail::Torn });
    }
    if first_is_zero {
        return Ok(if is_zero(file, end, length)? { Tail::Clean } else { Tail::Torn });
    }
    // a header that breaks off has nothing behind it
    let breaks_off = first.get(HEADER_BYTES - 1..).is_none_or(|rest| rest.iter().all(|&byte| byte == 0));
    let ends_early = length - end < SECTOR_BYTES;
    Ok(if breaks_off || ends_early { Tail::Torn } else { Tail::Damaged })
}

fn read(file: &SealedFile, from: u64, to: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(to.saturating_sub(from)).map_err(io::Error::other)?];
    file.read(from, &mut bytes)?;
    Ok(bytes)
}

/// Whether a sector of a row is zero, or its last byte, which is that of a seal.
fn has_gap(file: &SealedFile, from: u64, to: u64) -> io::Result<bool> {
    let mut at = from;
    let mut last = 0;
    while at < to {
        let piece = read(file, at, (at + PIECE_BYTES).min(to))?;
        if piece.chunks(SECTOR_BYTES as usize).any(|sector| sector.iter().all(|&byte| byte == 0)) {
            return Ok(true);
        }
        last = piece.last().copied().unwrap_or_default();
        at += PIECE_BYTES;
    }
    Ok(last == 0)
}

fn is_zero(file: &SealedFile, from: u64, to: u64) -> io::Result<bool> {
    let mut at = from;
    while at < to {
        if read(file, at, (at + PIECE_BYTES).min(to))?.iter().any(|&byte| byte != 0) {
            return Ok(false);
        }
        at += PIECE_BYTES;
    }
    Ok(true)
}
