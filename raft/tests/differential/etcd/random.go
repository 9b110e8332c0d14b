package main

// mix is the generator SplitMix64, from which the machine under test draws election timeouts, too.
type mix struct{ state uint64 }

func (m *mix) next() uint64 {
	m.state += 0x9e3779b97f4a7c15
	z := m.state
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb
	return z ^ (z >> 31)
}

func (m *mix) below(n uint64) uint64    { return m.next() % n }
func (m *mix) chance(of uint64) bool    { return m.below(of) == 0 }
func (m *mix) percent(of uint64) bool   { return m.below(100) < of }
func (m *mix) among(n ...uint64) uint64 { return n[m.below(uint64(len(n)))] }

// timeouts hands raft's draws of election timeouts to the node that is being driven.
type timeouts struct {
	of   *mix
	tick uint64
}

func (t *timeouts) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = 0
	}
	b[len(b)-1] = byte(t.of.below(t.tick))
	return len(b), nil
}

var draws timeouts
