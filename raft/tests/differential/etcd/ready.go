package main

import (
	"fmt"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
)

func (w *world) take(n *node, text *[]string) bool {
	rn := w.use(n)
	if !rn.HasReady() {
		return false
	}
	rd := rn.Ready()
	t := &task{ready: rd}
	var now, local []pb.Message
	for _, m := range rd.Messages {
		if raft.IsLocalMsgTarget(m.To) {
			local = append(local, m)
		} else {
			now = append(now, m)
		}
	}
	for _, m := range local {
		for _, r := range m.Responses {
			switch {
			case m.Type == pb.MsgStorageApply:
				t.apply = append(t.apply, r)
			case r.To == n.id:
				t.self = append(t.self, r)
			default:
				t.after = append(t.after, r)
			}
		}
	}
	if w.sync {
		// entries may be applied a Ready earlier than in the other mode; what is said and where it ends is the same
		w.write(n, t)
		if !raft.IsEmptySnap(rd.Snapshot) {
			*text = append(*text, fmt.Sprintf("restore %s", snapshotText(&rd.Snapshot)))
		}
		w.send(n, now, text)
		if w.late {
			rn.Advance(rd)
			w.commit(n, rd.CommittedEntries)
		} else {
			w.commit(n, rd.CommittedEntries)
			rn.Advance(rd)
		}
		return true
	}
	if rd.SoftState != nil {
		*text = append(*text, fmt.Sprintf("soft %s%d", roles[rd.SoftState.RaftState], rd.SoftState.Lead))
	}
	if !raft.IsEmptyHardState(rd.HardState) {
		*text = append(*text, fmt.Sprintf("hard t%d v%d c%d", rd.HardState.Term, rd.HardState.Vote, rd.HardState.Commit))
	}
	if !raft.IsEmptySnap(rd.Snapshot) {
		*text = append(*text, fmt.Sprintf("restore %s", snapshotText(&rd.Snapshot)))
	}
	if len(rd.Entries) > 0 {
		*text = append(*text, fmt.Sprintf("write %s", entriesText(rd.Entries)))
	}
	if len(rd.CommittedEntries) > 0 {
		*text = append(*text, fmt.Sprintf("apply %s", entriesText(rd.CommittedEntries)))
	}
	// a new term or vote is on disk before anything is said in it
	if !raft.IsEmptyHardState(rd.HardState) && (rd.HardState.Term != n.said.Term || rd.HardState.Vote != n.said.Vote) {
		t.after = append(now, t.after...)
		now = nil
	}
	if !raft.IsEmptyHardState(rd.HardState) {
		n.said = rd.HardState
	}
	w.send(n, now, text)
	n.persist = append(n.persist, t)
	return true
}

func (w *world) write(n *node, t *task) {
	d, rd := &n.disk, &t.ready
	if !raft.IsEmptySnap(rd.Snapshot) {
		snapshot := rd.Snapshot
		must(n.store.ApplySnapshot(snapshot))
		d.snapshot, d.entries, d.applied, d.conf = &snapshot, nil, snapshot.Metadata.Index, snapshot.Metadata.ConfState
	}
	if len(rd.Entries) > 0 {
		must(n.store.Append(append([]pb.Entry(nil), rd.Entries...)))
		first := rd.Entries[0].Index
		kept := d.entries[:0:0]
		for _, e := range d.entries {
			if e.Index < first {
				kept = append(kept, e)
			}
		}
		d.entries = append(kept, rd.Entries...)
	}
	if !raft.IsEmptyHardState(rd.HardState) {
		d.hard = rd.HardState
		n.store.hard = rd.HardState
	}
}

func (w *world) commit(n *node, entries []pb.Entry) {
	for _, e := range entries {
		n.disk.applied = e.Index
		if e.Type == pb.EntryConfChange {
			var c pb.ConfChange
			must(c.Unmarshal(e.Data))
			w.use(n).ApplyConfChange(c)
			n.disk.conf = confOf(n.rn)
		}
	}
}

func (w *world) persisted(n *node, text *[]string) {
	t := n.persist[0]
	if !raft.IsEmptySnap(t.ready.Snapshot) {
		for len(n.apply) > 0 {
			w.applied(n)
		}
	}
	n.persist = n.persist[1:]
	w.write(n, t)
	rn := w.use(n)
	for _, m := range t.self {
		_ = rn.Step(m)
	}
	w.send(n, t.after, text)
	if len(t.ready.CommittedEntries) > 0 {
		n.apply = append(n.apply, t)
	}
}

func (w *world) applied(n *node) {
	t := n.apply[0]
	n.apply = n.apply[1:]
	rn := w.use(n)
	if !w.late {
		w.commit(n, t.ready.CommittedEntries)
	}
	for _, m := range t.apply {
		_ = rn.Step(m)
	}
	if w.late {
		w.commit(n, t.ready.CommittedEntries)
	}
}

// send numbers messages and appends their texts.
func (w *world) send(n *node, list []pb.Message, text *[]string) {
	for _, m := range list {
		if m.Type == pb.MsgSnap {
			snapshot := *m.Snapshot
			snapshot.Metadata.ConfState = confOf(n.rn)
			m.Snapshot = &snapshot
		}
		// as another node gets it
		bytes, err := m.Marshal()
		must(err)
		var copied pb.Message
		must(copied.Unmarshal(bytes))
		w.messages = append(w.messages, copied)
		w.pending = append(w.pending, len(w.messages)-1)
		*text = append(*text, messageText(copied))
	}
}
