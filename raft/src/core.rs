//! Terms, roles and elections.

use std::collections::BTreeMap;

use bytes::Bytes;
use fabric_proto::raftpb::{ConfChange, ConfChangeType, HardState, Message, MessageType};

use crate::election_timeout::TimeoutGenerator;
use crate::error::MachineFailed;
use crate::log::{EntryId, Log};
use crate::progress::Progress;
use crate::types::{Config, Role, SoftState};

pub(crate) type Done = Result<(), MachineFailed>;

/// Stands for no node.
pub(crate) const NOBODY: u64 = 0;

/// Context of a vote request after a leadership transfer: voters consider it even if they still hear from the leader.
const HANDED_OVER: &[u8] = b"CampaignTransfer";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Campaign {
    /// Ask which voters would vote for this node (PreVote).
    Ask,
    /// Start an election, after a quorum has granted the PreVote.
    Elect,
    /// Start an election at the leader's request, without a PreVote.
    TakeOver,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tally {
    Won,
    Pending,
    Lost,
}

#[derive(Clone)]
pub(crate) struct Core {
    pub(crate) id: u64,
    pub(crate) term: u64,
    pub(crate) vote: u64,
    pub(crate) leader: u64,
    pub(crate) role: Role,
    pub(crate) log: Log,
    /// Every consenter, including this node.
    pub(crate) peers: BTreeMap<u64, Progress>,
    votes: BTreeMap<u64, bool>,
    /// ID of the consenter that leadership is being transferred to.
    pub(crate) transferee: u64,
    /// Index of the last membership change, which may not be applied yet. No other one is proposed before it is.
    pub(crate) pending_change: u64,
    pub(crate) election_elapsed: usize,
    pub(crate) heartbeat_elapsed: usize,
    timeout: usize,
    draws: TimeoutGenerator,
    pub(crate) election_tick: usize,
    pub(crate) heartbeat_tick: usize,
    pub(crate) max_bytes: u64,
    pub(crate) window: usize,
    /// Messages that do not wait for the disk.
    pub(crate) at_once: Vec<Message>,
    /// Responses that depend on a pending write. Those to this node itself are its own vote and acknowledgements.
    pub(crate) after: Vec<Message>,
}

pub(crate) fn message(kind: MessageType, to: u64) -> Message {
    Message { r#type: kind as i32, to, ..Message::default() }
}

impl Core {
    pub(crate) fn new(config: &Config, log: Log, hard_state: HardState, voters: &[u64]) -> Self {
        let next = log.last().index + 1;
        let mut core = Self {
            id: config.id,
            term: hard_state.term,
            vote: hard_state.vote,
            leader: NOBODY,
            role: Role::Follower,
            log,
            peers: voters.iter().map(|&id| (id, Progress::new(next))).collect(),
            votes: BTreeMap::new(),
            transferee: NOBODY,
            pending_change: 0,
            election_elapsed: 0,
            heartbeat_elapsed: 0,
            timeout: 0,
            draws: TimeoutGenerator::new(config.seed),
            election_tick: config.election_tick,
            heartbeat_tick: config.heartbeat_tick,
            max_bytes: config.max_size_per_msg,
            window: config.max_inflight_msgs,
            at_once: Vec::new(),
            after: Vec::new(),
        };
        core.become_follower(core.term, NOBODY);
        core
    }

    pub(crate) fn hard_state(&self) -> HardState {
        HardState { term: self.term, vote: self.vote, commit: self.log.committed() }
    }

    pub(crate) fn soft_state(&self) -> SoftState {
        SoftState { leader: (self.leader != NOBODY).then_some(self.leader), role: self.role }
    }

    pub(crate) fn voters(&self) -> Vec<u64> {
        self.peers.keys().copied().collect()
    }

    /// Sends a message from this node. A message without a term gets the current one.
    pub(crate) fn send(&mut self, mut message: Message) {
        message.from = self.id;
        if message.term == 0 {
            message.term = self.term;
        }
        match message.r#type() {
            MessageType::MsgAppResp | MessageType::MsgVoteResp | MessageType::MsgPreVoteResp => {
                self.after.push(message);
            }
            _ => self.at_once.push(message),
        }
    }

    pub(crate) fn tick(&mut self) {
        if self.role == Role::Leader {
            self.tick_leader();
            return;
        }
        self.election_elapsed += 1;
        if self.is_promotable() && self.election_elapsed >= self.timeout {
            self.election_elapsed = 0;
            self.campaign();
        }
    }

    fn reset(&mut self, term: u64) {
        if self.term != term {
            self.term = term;
            self.vote = NOBODY;
        }
        self.leader = NOBODY;
        self.election_elapsed = 0;
        self.heartbeat_elapsed = 0;
        self.timeout = self.draws.timeout(self.election_tick);
        self.transferee = NOBODY;
        self.votes.clear();
        let last = self.log.last().index;
        for (id, progress) in &mut self.peers {
            *progress = Progress::new(last + 1);
            if *id == self.id {
                progress.matched = last;
            }
        }
        self.pending_change = 0;
    }

    pub(crate) fn become_follower(&mut self, term: u64, leader: u64) {
        self.reset(term);
        self.leader = leader;
        self.role = Role::Follower;
    }

    fn become_candidate(&mut self) {
        self.reset(self.term + 1);
        self.vote = self.id;
        self.role = Role::Candidate;
    }

    /// Becomes a pre-candidate. Changes neither the term nor the vote.
    fn become_pre_candidate(&mut self) {
        self.votes.clear();
        self.leader = NOBODY;
        self.role = Role::PreCandidate;
    }

    /// Whether this node may be elected: it is a consenter, and its log is not being replaced by a snapshot.
    fn is_promotable(&self) -> bool {
        self.peers.contains_key(&self.id) && !self.log.is_restoring()
    }

    /// Starts an election with a PreVote, if this node may be elected.
    pub(crate) fn campaign(&mut self) {
        self.stand(Campaign::Ask);
    }

    fn stand(&mut self, campaign: Campaign) {
        // the voters are unknown until a committed membership change is applied
        if self.role != Role::Leader && self.is_promotable() && !self.log.has_unapplied_change() {
            self.ask_for_votes(campaign);
        }
    }

    fn ask_for_votes(&mut self, campaign: Campaign) {
        let (request, answer, term) = if campaign == Campaign::Ask {
            self.become_pre_candidate();
            (MessageType::MsgPreVote, MessageType::MsgPreVoteResp, self.term + 1)
        } else {
            self.become_candidate();
            (MessageType::MsgVote, MessageType::MsgVoteResp, self.term)
        };
        let last = self.log.last();
        let context = (campaign == Campaign::TakeOver).then(|| Bytes::from_static(HANDED_OVER));
        for id in self.voters() {
            if id == self.id {
                // this node's own vote counts when it is on disk
                self.send(Message { term, ..message(answer, id) });
            } else {
                let context = context.clone();
                self.send(Message { term, index: last.index, log_term: last.term, context, ..message(request, id) });
            }
        }
    }

    /// Processes a message from another node, or this node's own vote or acknowledgement.
    pub(crate) fn step(&mut self, m: Message) -> Done {
        let kind = m.r#type();
        if m.term > self.term {
            let asks = matches!(kind, MessageType::MsgVote | MessageType::MsgPreVote);
            let handed_over = m.context.as_deref() == Some(HANDED_OVER);
            let hears_leader = self.leader != NOBODY && self.election_elapsed < self.election_tick;
            if asks && !handed_over && hears_leader {
                return Ok(());
            }
            match kind {
                MessageType::MsgPreVote => {}
                // a granted PreVote has the term that this node would campaign for
                MessageType::MsgPreVoteResp if !m.reject => {}
                MessageType::MsgApp | MessageType::MsgHeartbeat | MessageType::MsgSnap => {
                    self.become_follower(m.term, m.from);
                }
                _ => self.become_follower(m.term, NOBODY),
            }
        } else if m.term < self.term {
            match kind {
                // a former leader learns the current term from this response
                MessageType::MsgApp | MessageType::MsgHeartbeat => self.send(message(MessageType::MsgAppResp, m.from)),
                MessageType::MsgPreVote => {
                    self.send(Message { reject: true, ..message(MessageType::MsgPreVoteResp, m.from) });
                }
                _ => {}
            }
            return Ok(());
        }
        match kind {
            MessageType::MsgVote => {
                self.answer_candidate(&m, MessageType::MsgVoteResp);
                Ok(())
            }
            MessageType::MsgPreVote => {
                self.answer_candidate(&m, MessageType::MsgPreVoteResp);
                Ok(())
            }
            _ => match self.role {
                Role::Leader => self.step_leader(&m),
                Role::Candidate | Role::PreCandidate => self.step_candidate(m),
                Role::Follower => self.step_follower(m),
            },
        }
    }

    fn answer_candidate(&mut self, m: &Message, answer: MessageType) {
        let asks_only = answer == MessageType::MsgPreVoteResp;
        let may_vote =
            self.vote == m.from || self.vote == NOBODY && self.leader == NOBODY || asks_only && m.term > self.term;
        if may_vote && self.log.is_up_to_date(EntryId { index: m.index, term: m.log_term }) {
            self.send(Message { term: m.term, ..message(answer, m.from) });
            if !asks_only {
                self.election_elapsed = 0;
                self.vote = m.from;
            }
        } else {
            self.send(Message { reject: true, ..message(answer, m.from) });
        }
    }

    fn step_candidate(&mut self, m: Message) -> Done {
        let kind = m.r#type();
        let awaited =
            if self.role == Role::PreCandidate { MessageType::MsgPreVoteResp } else { MessageType::MsgVoteResp };
        match kind {
            MessageType::MsgApp | MessageType::MsgHeartbeat | MessageType::MsgSnap => {
                self.become_follower(m.term, m.from);
                self.step_follower(m)
            }
            _ if kind == awaited => {
                self.votes.entry(m.from).or_insert(!m.reject);
                match self.tally() {
                    Tally::Won if self.role == Role::PreCandidate => self.ask_for_votes(Campaign::Elect),
                    Tally::Won => return self.become_leader(),
                    Tally::Lost => self.become_follower(self.term, NOBODY),
                    Tally::Pending => {}
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn tally(&self) -> Tally {
        let granted = self.peers.keys().filter(|id| self.votes.get(id) == Some(&true)).count();
        let refused = self.peers.keys().filter(|id| self.votes.get(id) == Some(&false)).count();
        let quorum = self.peers.len() / 2 + 1;
        if granted >= quorum {
            Tally::Won
        } else if self.peers.len() - refused >= quorum {
            Tally::Pending
        } else {
            Tally::Lost
        }
    }

    fn step_follower(&mut self, m: Message) -> Done {
        match m.r#type() {
            MessageType::MsgApp | MessageType::MsgHeartbeat | MessageType::MsgSnap => {
                self.election_elapsed = 0;
                self.leader = m.from;
                self.follow(m)
            }
            MessageType::MsgTimeoutNow => {
                // without a PreVote, because the present leader requests the election
                self.stand(Campaign::TakeOver);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Applies a membership change. A leader that is removed stops leading.
    pub(crate) fn apply_change(&mut self, change: &ConfChange) -> Done {
        match ConfChangeType::try_from(change.r#type) {
            // the change adds or removes no node
            _ if change.node_id == NOBODY => {}
            Ok(ConfChangeType::ConfChangeAddNode) => {
                let last = self.log.last().index;
                self.peers.entry(change.node_id).or_insert_with(|| Progress::added(last));
            }
            Ok(ConfChangeType::ConfChangeRemoveNode) => {
                if self.peers.keys().all(|&id| id == change.node_id) {
                    return Err(MachineFailed::new("a committed change of the consenters leaves nobody"));
                }
                self.peers.remove(&change.node_id);
            }
            _ => {
                return Err(MachineFailed::new("a committed change of the consenters neither adds nor removes one"));
            }
        }
        if self.role != Role::Leader {
            return Ok(());
        }
        if !self.peers.contains_key(&self.id) {
            self.become_follower(self.term, NOBODY);
            return Ok(());
        }
        self.voters_changed()
    }
}
