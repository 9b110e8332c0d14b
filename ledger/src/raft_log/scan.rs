//! Reads the rows of a log that is being opened, and cuts off an incomplete one at its end.

use super::error::RaftLogError;
use super::log::{RaftLog, TornTail};
use super::record::decode;
use super::tail::{self, Tail};

impl RaftLog {
    /// Goes through the rows, as long as one is whole.
    pub(super) fn scan(&mut self) -> Result<(), RaftLogError> {
        loop {
            let at = self.end;
            let header = self.file.header_at(at).map_err(|cause| self.io("read", cause))?;
            let Some((header, encoded)) = header else { break };
            let content = self.file.content_at(at, header, &encoded).map_err(|cause| self.io("read", cause))?;
            let Some(content) = content else { break };
            if header.sequence != self.next {
                return Err(self.damaged(at, format!("row {} is there, not row {}", header.sequence, self.next)));
            }
            let records = decode(content).map_err(|problem| self.damaged(at, problem.to_owned()))?;
            for record in &records {
                self.view.replay(record, at).map_err(|problem| self.damaged(at, problem.to_string()))?;
            }
            self.end += header.record_bytes();
            self.next += 1;
        }
        if self.next == 1 {
            return Err(self.damaged(self.end, "the first row is not whole".to_owned()));
        }
        self.view.check_whole().map_err(|problem| self.damaged(self.end, problem.to_string()))
    }

    /// Reads what is behind the last whole row, and cuts it off if it was never durable.
    pub(super) fn cut_tail(&mut self) -> Result<(), RaftLogError> {
        let behind = self.file.find_behind(self.end, self.next).map_err(|cause| self.io("read", cause))?;
        if let Some((at, header)) = behind {
            let problem = format!("row {} is not whole, row {} is there at byte {at}", self.next, header.sequence);
            return Err(self.damaged(self.end, problem));
        }
        match tail::judge(&self.file, self.end).map_err(|cause| self.io("read", cause))? {
            Tail::Clean => return Ok(()),
            Tail::Damaged => return Err(self.damaged(self.end, format!("row {} was changed", self.next))),
            Tail::Torn => {}
        }
        tracing::warn!(channel = %self.channel, file = self.name, at = self.end, row = self.next,
            "the last record of the Raft log is incomplete; truncating it");
        self.file.shrink(self.end).map_err(|cause| self.io("cut off a torn row", cause))?;
        self.torn = Some(TornTail { at: self.end });
        Ok(())
    }
}
