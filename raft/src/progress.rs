//! A leader's knowledge of another consenter, and the flow of messages to it.

use std::collections::VecDeque;

/// The way in which entries are sent to a consenter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplicationMode {
    /// One message at a time, because the index up to which its log agrees with the leader's is unknown.
    Probe,
    /// Messages one after another, without waiting for responses.
    Replicate,
    /// Nothing is sent until it has restored a snapshot.
    Snapshot {
        /// Index of the snapshot.
        index: u64,
    },
}

#[derive(Debug, Clone)]
pub(crate) struct Progress {
    /// Index up to which its log is known to agree with the leader's.
    pub(crate) matched: u64,
    /// Index of the next entry to send.
    pub(crate) next: u64,
    /// The commit index that was last sent to it.
    sent_commit: u64,
    pub(crate) flow: ReplicationMode,
    /// Whether it responded since the leader last checked its quorum.
    pub(crate) active: bool,
    /// Whether entries wait for a response. The response to a heartbeat permits one more message.
    paused: bool,
    /// The last index of each message without a response.
    in_flight: VecDeque<u64>,
}

impl Progress {
    pub(crate) fn new(next: u64) -> Self {
        Self {
            matched: 0,
            next,
            sent_commit: 0,
            flow: ReplicationMode::Probe,
            active: false,
            paused: false,
            in_flight: VecDeque::new(),
        }
    }

    /// Creates the progress of a consenter that was just added. It counts as active, because it has had no chance to
    /// respond.
    pub(crate) fn added(last: u64) -> Self {
        Self { active: true, ..Self::new(last.max(1)) }
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    fn enter(&mut self, flow: ReplicationMode) {
        self.paused = false;
        self.flow = flow;
        self.in_flight.clear();
    }

    pub(crate) fn probe(&mut self) {
        let sent = if let ReplicationMode::Snapshot { index } = self.flow { index } else { 0 };
        self.enter(ReplicationMode::Probe);
        self.next = self.matched.max(sent) + 1;
        self.sent_commit = self.sent_commit.min(self.next - 1);
    }

    pub(crate) fn replicate(&mut self) {
        self.enter(ReplicationMode::Replicate);
        self.next = self.matched + 1;
    }

    pub(crate) fn send_snapshot(&mut self, index: u64) {
        self.enter(ReplicationMode::Snapshot { index });
        self.next = index + 1;
        self.sent_commit = index;
    }

    /// Records that a message with `entries` entries was sent. At most `window` messages may be without a response.
    pub(crate) fn sent(&mut self, entries: usize, window: usize) {
        match self.flow {
            ReplicationMode::Replicate => {
                if entries > 0 {
                    self.next += entries as u64;
                    self.in_flight.push_back(self.next - 1);
                }
                self.paused = self.is_full(window);
            }
            ReplicationMode::Probe => self.paused |= entries > 0,
            ReplicationMode::Snapshot { .. } => {}
        }
    }

    pub(crate) fn sent_commit(&mut self, commit: u64) {
        self.sent_commit = commit;
    }

    /// Returns whether sending it this commit index now helps.
    pub(crate) fn lacks_commit(&self, commit: u64) -> bool {
        commit > self.sent_commit && self.sent_commit < self.next - 1
    }

    /// Records that entries up to `index` are acknowledged. Returns false if that was known.
    pub(crate) fn acknowledged(&mut self, index: u64) -> bool {
        if index <= self.matched {
            return false;
        }
        self.matched = index;
        self.next = self.next.max(index + 1);
        self.paused = false;
        true
    }

    /// Removes the messages that end at or before `index` from those in flight.
    pub(crate) fn answered(&mut self, index: u64) {
        while self.in_flight.front().is_some_and(|&last| last <= index) {
            self.in_flight.pop_front();
        }
    }

    /// Processes a response that rejects the entries after `refused`, because the logs agree at most up to `hint`.
    /// Returns false if the response is out of date.
    pub(crate) fn refused(&mut self, refused: u64, hint: u64) -> bool {
        if self.flow == ReplicationMode::Replicate {
            if refused <= self.matched {
                return false;
            }
            self.next = self.matched + 1;
        } else {
            if self.next - 1 != refused {
                return false;
            }
            self.next = refused.min(hint + 1).max(self.matched + 1);
            self.paused = false;
        }
        self.sent_commit = self.sent_commit.min(self.next - 1);
        true
    }

    pub(crate) fn pause(&mut self) {
        self.paused = true;
    }

    /// Continues after the response to a heartbeat.
    pub(crate) fn resume(&mut self) {
        self.paused = false;
    }

    pub(crate) fn is_full(&self, window: usize) -> bool {
        self.in_flight.len() >= window
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused || matches!(self.flow, ReplicationMode::Snapshot { .. })
    }
}
