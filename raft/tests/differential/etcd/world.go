package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
)

type world struct {
	seed      uint64
	random    mix
	sync      bool
	late      bool
	tick      uint64
	beat      uint64
	size      uint64
	window    uint64
	voters    uint64
	nodes     []*node // by id - 1
	messages  []pb.Message
	pending   []int
	proposals uint64
	out       *bufio.Writer
	cut       map[uint64]bool
	// who is down or cut off stays so for long
	long bool
	// nodes stand for election out of turn
	unrest bool
	steps  int
}

func data(number, size uint64) []byte {
	b := make([]byte, 8, 8+size)
	binary.BigEndian.PutUint64(b, number)
	return append(b, bytes.Repeat([]byte{'.'}, int(size))...)
}

func newWorld(seed uint64, out *bufio.Writer) *world {
	w := &world{seed: seed, random: mix{seed}, out: out, cut: map[uint64]bool{}}
	r := &w.random
	w.sync = r.chance(2)
	w.late = r.chance(2)
	w.tick = r.among(10, 10, 10, 5, 3)
	w.beat = r.among(1, 1, 1, 2)
	w.size = r.among(40, 100, 300, 2097152)
	w.window = r.among(1, 2, 5, 5)
	w.voters = r.among(1, 2, 3, 3, 3, 3, 4, 5, 5)
	w.long = r.chance(3)
	w.unrest = r.chance(4)
	joiners := r.among(0, 1, 2)
	fmt.Fprintf(out, "world %d sync%v late%v tick%d beat%d size%d window%d voters%d joiners%d\n", seed, w.sync, w.late, w.tick, w.beat,
		w.size, w.window, w.voters, joiners)
	first := disk{hard: pb.HardState{Term: 1, Commit: w.voters}, applied: w.voters}
	for id := uint64(1); id <= w.voters; id++ {
		c := pb.ConfChange{Type: pb.ConfChangeAddNode, NodeID: id}
		b, err := c.Marshal()
		must(err)
		first.entries = append(first.entries, pb.Entry{Type: pb.EntryConfChange, Term: 1, Index: id, Data: b})
		first.conf.Voters = append(first.conf.Voters, id)
	}
	for id := uint64(1); id <= w.voters+joiners; id++ {
		n := &node{id: id}
		if id <= w.voters {
			n.disk = first
		}
		w.nodes = append(w.nodes, n)
		w.start(n)
		w.done(n, fmt.Sprintf("boot %d", id), nil)
	}
	return w
}

// done writes a step: what was done, and what came of it.
func (w *world) done(n *node, op string, text []string) {
	w.steps++
	if w.sync && n.rn != nil {
		for w.take(n, &text) {
		}
	}
	state := w.state(n)
	if state != n.last {
		n.last = state
		text = append(text, state)
	}
	if len(text) == 0 {
		fmt.Fprintln(w.out, op)
		return
	}
	fmt.Fprintf(w.out, "%s|%s\n", op, strings.Join(text, ";"))
}

func (w *world) leader() *node {
	var found *node
	for _, n := range w.nodes {
		if n.rn != nil && n.rn.BasicStatus().RaftState == raft.StateLeader {
			if found == nil || n.rn.BasicStatus().Term > found.rn.BasicStatus().Term || w.random.chance(4) {
				found = n
			}
		}
	}
	return found
}

func (w *world) follow(n *node) {
	if w.sync || n.rn == nil {
		return
	}
	r := &w.random
	if r.percent(75) {
		var text []string
		if w.take(n, &text) {
			w.done(n, fmt.Sprintf("ready %d", n.id), text)
		}
	}
	for len(n.persist) > 0 && r.percent(65) {
		var text []string
		w.persisted(n, &text)
		w.done(n, fmt.Sprintf("persisted %d", n.id), text)
	}
	for len(n.apply) > 0 && r.percent(65) {
		w.applied(n)
		w.done(n, fmt.Sprintf("applied %d", n.id), nil)
	}
}

func (w *world) step(faults bool) {
	r := &w.random
	count := uint64(len(w.nodes))
	n := w.nodes[r.below(count)]
	lead := w.leader()
	kind := r.below(1000)
	if w.unrest && r.chance(40) {
		kind = 893
	}
	switch {
	case kind < 180:
		if n.rn != nil {
			w.use(n).Tick()
			w.done(n, fmt.Sprintf("tick %d", n.id), nil)
		}
	case kind < 800:
		if len(w.pending) == 0 {
			break
		}
		at := 0
		if r.percent(30) {
			at = int(r.below(uint64(len(w.pending))))
		}
		number := w.pending[at]
		if !(faults && r.chance(30)) {
			w.pending = append(w.pending[:at:at], w.pending[at+1:]...)
		}
		m := w.messages[number]
		if m.To == 0 || m.To > count {
			break
		}
		n = w.nodes[m.To-1]
		if n.rn == nil || (faults && r.chance(15)) || w.cut[m.To] || w.cut[m.From] {
			break
		}
		_ = w.use(n).Step(m)
		w.done(n, fmt.Sprintf("deliver %d", number), nil)
	case kind < 880:
		if lead == nil {
			break
		}
		n = lead
		w.proposals++
		size := r.among(0, 1, 20, 60, 150)
		_ = w.use(n).Propose(data(w.proposals, size))
		w.done(n, fmt.Sprintf("propose %d %d %d", n.id, w.proposals, size), nil)
	case kind < 888:
		if lead == nil {
			break
		}
		n = lead
		status := n.rn.Status()
		target := r.below(count) + 1
		change := pb.ConfChangeAddNode
		if _, in := status.Config.Voters[0][target]; in && r.percent(80) {
			change = pb.ConfChangeRemoveNode
		}
		// the last one is never taken away, also when another change is under way
		if change == pb.ConfChangeRemoveNode && len(status.Config.Voters[0]) <= 2 {
			break
		}
		c := pb.ConfChange{Type: change, NodeID: target}
		_ = w.use(n).ProposeConfChange(c)
		w.done(n, fmt.Sprintf("change %d %d %d", n.id, change, target), nil)
	case kind < 893:
		if lead == nil {
			break
		}
		n = lead
		to := r.below(count) + 1
		w.use(n).TransferLeader(to)
		w.done(n, fmt.Sprintf("transfer %d %d", n.id, to), nil)
	case kind < 897:
		if n.rn != nil {
			_ = w.use(n).Campaign()
			w.done(n, fmt.Sprintf("campaign %d", n.id), nil)
		}
	case kind < 905:
		if n.rn != nil {
			to := r.below(count) + 1
			if lead != nil && w.long {
				n = lead
			}
			w.use(n).ReportUnreachable(to)
			w.done(n, fmt.Sprintf("unreachable %d %d", n.id, to), nil)
		}
	case kind < 930:
		if lead == nil {
			break
		}
		n = lead
		to := r.below(count) + 1
		status, text := raft.SnapshotFinish, "sent"
		if r.chance(3) {
			status, text = raft.SnapshotFailure, "failed"
		}
		w.use(n).ReportSnapshot(to, status)
		w.done(n, fmt.Sprintf("snapshot-%s %d %d", text, n.id, to), nil)
	case kind < 960:
		if n.rn == nil {
			break
		}
		d := &n.disk
		covered := uint64(0)
		if d.snapshot != nil {
			covered = d.snapshot.Metadata.Index
		}
		if d.applied <= covered+r.below(8) || n.restoring() {
			break
		}
		keep := r.among(0, 1, 4)
		snapshot, err := n.store.CreateSnapshot(d.applied, &pb.ConfState{Voters: append([]uint64(nil), d.conf.Voters...)}, []byte{byte(d.applied)})
		must(err)
		d.snapshot = &snapshot
		kept := d.entries[:0:0]
		for _, e := range d.entries {
			if e.Index > d.applied {
				kept = append(kept, e)
			}
		}
		d.entries = kept
		if d.applied > keep {
			_ = n.store.Compact(d.applied - keep)
		}
		w.done(n, fmt.Sprintf("compact %d %d", n.id, keep), []string{snapshotText(&snapshot)})
	case kind < 964:
		if !faults || n.rn == nil {
			break
		}
		n.rn = nil
		w.done(n, fmt.Sprintf("kill %d", n.id), nil)
	case kind < 985:
		for _, n := range w.nodes {
			if n.rn == nil && r.chance(2) && (!w.long || r.chance(8)) {
				how := "boot"
				if r.chance(2) {
					// as Fabric does: what is committed behind the snapshot is applied again
					how = "replay"
					n.disk.applied, n.disk.conf = 0, pb.ConfState{}
					if n.disk.snapshot != nil {
						n.disk.applied, n.disk.conf = n.disk.snapshot.Metadata.Index, n.disk.snapshot.Metadata.ConfState
					}
				}
				w.start(n)
				w.done(n, fmt.Sprintf("%s %d", how, n.id), nil)
				w.follow(n)
			}
		}
		return
	case kind < 989:
		if faults {
			w.cut[n.id] = true
		}
		return
	case kind < 1000:
		if !w.long || r.chance(8) {
			delete(w.cut, n.id)
		}
		return
	}
	w.follow(n)
	if len(w.pending) > 60 {
		at := int(r.below(uint64(len(w.pending))))
		w.pending = append(w.pending[:at:at], w.pending[at+1:]...)
	}
}
