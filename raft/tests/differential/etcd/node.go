package main

import (
	"fmt"
	"reflect"
	"sort"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
)

// storage starts raft with the consenters at the applied entry, which need not be those of the snapshot.
type storage struct {
	*raft.MemoryStorage
	hard pb.HardState
	conf pb.ConfState
}

func (s *storage) InitialState() (pb.HardState, pb.ConfState, error) { return s.hard, s.conf, nil }

// disk is what survives a kill.
type disk struct {
	hard     pb.HardState
	snapshot *pb.Snapshot
	entries  []pb.Entry // behind the snapshot
	applied  uint64
	conf     pb.ConfState
}

// task is a Ready that is not on disk, or not applied.
type task struct {
	ready raft.Ready
	// async: what is told and sent when it is on disk
	self  []pb.Message
	after []pb.Message
	apply []pb.Message
}

type node struct {
	id      uint64
	rn      *raft.RawNode
	store   *storage
	disk    disk
	persist []*task
	apply   []*task
	draws   *mix
	starts  uint64
	last    string
	said    pb.HardState
}

type quiet struct{}

func (quiet) Debug(...interface{})              {}
func (quiet) Debugf(string, ...interface{})     {}
func (quiet) Error(...interface{})              {}
func (quiet) Errorf(string, ...interface{})     {}
func (quiet) Info(...interface{})               {}
func (quiet) Infof(string, ...interface{})      {}
func (quiet) Warning(...interface{})            {}
func (quiet) Warningf(string, ...interface{})   {}
func (quiet) Fatal(v ...interface{})            { panic(fmt.Sprint(v...)) }
func (quiet) Fatalf(f string, v ...interface{}) { panic(fmt.Sprintf(f, v...)) }
func (quiet) Panic(v ...interface{})            { panic(fmt.Sprint(v...)) }
func (quiet) Panicf(f string, v ...interface{}) { panic(fmt.Sprintf(f, v...)) }

func (w *world) use(n *node) *raft.RawNode {
	draws.of, draws.tick = n.draws, w.tick
	return n.rn
}

func (w *world) start(n *node) {
	n.starts++
	seed := mix{w.seed*1000003 + n.id*1009 + n.starts}
	n.draws = &mix{seed.next()}
	n.store = &storage{MemoryStorage: raft.NewMemoryStorage(), hard: n.disk.hard, conf: n.disk.conf}
	if n.disk.snapshot != nil {
		must(n.store.ApplySnapshot(*n.disk.snapshot))
	}
	must(n.store.Append(append([]pb.Entry(nil), n.disk.entries...)))
	w.use(n)
	rn, err := raft.NewRawNode(&raft.Config{
		ID: n.id, ElectionTick: int(w.tick), HeartbeatTick: int(w.beat), Storage: n.store, Applied: n.disk.applied,
		AsyncStorageWrites: !w.sync, MaxSizePerMsg: w.size, MaxInflightMsgs: int(w.window),
		CheckQuorum: true, PreVote: true, DisableProposalForwarding: true, StepDownOnRemoval: true, Logger: quiet{},
	})
	must(err)
	n.rn, n.persist, n.apply, n.said = rn, nil, nil, n.disk.hard
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func confOf(rn *raft.RawNode) pb.ConfState {
	status := rn.Status()
	var state pb.ConfState
	for id := range status.Config.Voters[0] {
		state.Voters = append(state.Voters, id)
	}
	sort.Slice(state.Voters, func(i, j int) bool { return state.Voters[i] < state.Voters[j] })
	return state
}

func lastOf(n *node) (uint64, uint64) {
	unstable := reflect.ValueOf(n.rn).Elem().FieldByName("raft").Elem().FieldByName("raftLog").Elem().FieldByName("unstable")
	offset, entries := unstable.FieldByName("offset").Uint(), unstable.FieldByName("entries")
	if count := entries.Len(); count > 0 {
		return offset + uint64(count) - 1, entries.Index(count - 1).FieldByName("Term").Uint()
	}
	if snapshot := unstable.FieldByName("snapshot"); !snapshot.IsNil() {
		metadata := snapshot.Elem().FieldByName("Metadata")
		return metadata.FieldByName("Index").Uint(), metadata.FieldByName("Term").Uint()
	}
	index, _ := n.store.LastIndex()
	term, _ := n.store.Term(index)
	return index, term
}

// restoring tells whether a snapshot of the leader is not on disk yet.
func (n *node) restoring() bool {
	unstable := reflect.ValueOf(n.rn).Elem().FieldByName("raft").Elem().FieldByName("raftLog").Elem().FieldByName("unstable")
	return !unstable.FieldByName("snapshot").IsNil()
}
