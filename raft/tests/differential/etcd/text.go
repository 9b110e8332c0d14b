package main

import (
	"encoding/binary"
	"fmt"
	"sort"
	"strings"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
)

func ids(list []uint64) string {
	if len(list) == 0 {
		return "-"
	}
	text := make([]string, len(list))
	for i, id := range list {
		text[i] = fmt.Sprint(id)
	}
	return strings.Join(text, ",")
}

var roles = map[raft.StateType]string{raft.StateFollower: "F", raft.StatePreCandidate: "P", raft.StateCandidate: "C", raft.StateLeader: "L"}

func (w *world) state(n *node) string {
	if n.rn == nil {
		return "down"
	}
	s := n.rn.Status()
	index, term := lastOf(n)
	var b strings.Builder
	fmt.Fprintf(&b, "%s t%d v%d l%d c%d e%d.%d a%d x%d m%s", roles[s.RaftState], s.Term, s.Vote, s.Lead, s.Commit, index, term,
		s.Applied, s.LeadTransferee, ids(confOf(n.rn).Voters))
	peers := make([]uint64, 0)
	for id := range s.Progress {
		peers = append(peers, id)
	}
	sort.Slice(peers, func(i, j int) bool { return peers[i] < peers[j] })
	for _, id := range peers {
		p := s.Progress[id]
		flag := map[tracker.StateType]string{tracker.StateProbe: "p", tracker.StateReplicate: "r", tracker.StateSnapshot: "s"}[p.State]
		yes := func(b bool, s string) string {
			if b {
				return s
			}
			return ""
		}
		fmt.Fprintf(&b, " %d%s%d-%d%s", id, flag, p.Match, p.Next, yes(p.RecentActive, "a"))
		fmt.Fprintf(&b, "%si%d", yes(p.IsPaused(), "z"), p.Inflights.Count())
		if p.State == tracker.StateSnapshot {
			fmt.Fprintf(&b, "s%d", p.PendingSnapshot)
		}
	}
	return b.String()
}

func entryText(e pb.Entry) string {
	switch {
	case e.Type == pb.EntryConfChange:
		var c pb.ConfChange
		must(c.Unmarshal(e.Data))
		return fmt.Sprintf("%d.%d~%d:%d", e.Index, e.Term, c.Type, c.NodeID)
	case len(e.Data) == 0:
		return fmt.Sprintf("%d.%d", e.Index, e.Term)
	default:
		return fmt.Sprintf("%d.%d=%d:%d", e.Index, e.Term, binary.BigEndian.Uint64(e.Data), len(e.Data))
	}
}

func entriesText(list []pb.Entry) string {
	text := make([]string, len(list))
	for i, e := range list {
		text[i] = entryText(e)
	}
	return strings.Join(text, ",")
}

func snapshotText(s *pb.Snapshot) string {
	return fmt.Sprintf("%d.%d:%s:%x", s.Metadata.Index, s.Metadata.Term, ids(s.Metadata.ConfState.Voters), s.Data)
}

func messageText(m pb.Message) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %d>%d t%d", strings.TrimPrefix(m.Type.String(), "Msg"), m.From, m.To, m.Term)
	if m.Index != 0 || m.LogTerm != 0 {
		fmt.Fprintf(&b, " i%d.%d", m.Index, m.LogTerm)
	}
	if m.Commit != 0 {
		fmt.Fprintf(&b, " c%d", m.Commit)
	}
	if m.Reject || m.RejectHint != 0 {
		fmt.Fprintf(&b, " reject%d", m.RejectHint)
	}
	if m.Context != nil {
		fmt.Fprintf(&b, " %q", m.Context)
	}
	if len(m.Entries) > 0 {
		fmt.Fprintf(&b, " [%s]", entriesText(m.Entries))
	}
	if m.Snapshot != nil {
		fmt.Fprintf(&b, " {%s}", snapshotText(m.Snapshot))
	}
	return b.String()
}
