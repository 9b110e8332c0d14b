//! Decides whether the bytes behind the last whole row are a row that was torn when the power went, or one that was damaged.
//!
//! A row is written into zeros, and the disk writes sectors: of a row that was torn a sector is still zero, or it breaks
//! off. Such a row was never reported as durable. A row that is complete, but differs from what was written, was changed
//! afterwards.

use std::io;

use orderer_core::crypto::sha256;

use crate::sealed::{HEADER_BYTES, PAGE_BYTES, SEAL_BYTES, SealedFile};

/// Bytes that a disk writes at once.
const SECTOR_BYTES: u64 = SECTOR_LENGTH as u64;
const SECTOR_LENGTH: usize = 512;
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
    if let Some((header, encoded)) = file.header_at(end)? {
        let row_end = end.saturating_add(HEADER_BYTES as u64).saturating_add(header.rest_bytes());
        let whole = row_end <= length && !has_gap(file, end, row_end)?;
        return Ok(if whole && !seal_breaks_off(file, end, row_end, &encoded)? { Tail::Damaged } else { Tail::Torn });
    }
    if first.iter().all(|&byte| byte == 0) {
        return Ok(if is_zero(file, end, length)? { Tail::Clean } else { Tail::Torn });
    }
    if length - end < PAGE_BYTES {
        return Ok(Tail::Torn);
    }
    // a header that breaks off has nothing behind it
    let (header, behind) = first.split_at(first.len().min(HEADER_BYTES));
    let (said, seal) = header.split_at(header.len().saturating_sub(SEAL_BYTES));
    let torn = behind.iter().all(|&byte| byte == 0) && breaks_off(seal, &sha256(&[&file.key.0, said]));
    Ok(if torn { Tail::Torn } else { Tail::Damaged })
}

/// Returns whether this is the beginning of what it should be, and zeros.
fn breaks_off(found: &[u8], wanted: &[u8]) -> bool {
    let written = found.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    found.get(..written).is_some_and(|found| wanted.starts_with(found))
}

fn seal_breaks_off(file: &SealedFile, from: u64, to: u64, header: &[u8; HEADER_BYTES]) -> io::Result<bool> {
    let rest = read(file, from + HEADER_BYTES as u64, to)?;
    let (content, seal) = rest.split_at(rest.len().saturating_sub(SEAL_BYTES));
    Ok(breaks_off(seal, &sha256(&[&file.key.0, header, content])))
}

fn read(file: &SealedFile, from: u64, to: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(to.saturating_sub(from)).map_err(io::Error::other)?];
    file.read(from, &mut bytes)?;
    Ok(bytes)
}

/// Returns whether a sector of a row is zero.
fn has_gap(file: &SealedFile, from: u64, to: u64) -> io::Result<bool> {
    let mut at = from;
    while at < to {
        let piece = read(file, at, (at + PIECE_BYTES).min(to))?;
        if piece.chunks(SECTOR_LENGTH).any(|sector| sector.iter().all(|&byte| byte == 0)) {
            return Ok(true);
        }
        at += PIECE_BYTES;
    }
    Ok(false)
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
