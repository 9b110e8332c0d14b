// Command differential runs clusters of go.etcd.io/raft, with the settings of Fabric's orderers, by random scripts. It writes each
// step and what came of it: messages, what is to be written and applied, and the node's state where it changed.
package main

import (
	"bufio"
	crand "crypto/rand"
	"flag"
	"fmt"
	"os"
)

func main() {
	first := flag.Uint64("seed", 1, "of the first world")
	steps := flag.Int("steps", 1000, "at least, in all")
	each := flag.Int("each", 1500, "steps a world")
	flag.Parse()
	crand.Reader = &draws
	out := bufio.NewWriterSize(os.Stdout, 1<<20)
	defer out.Flush()
	total, worlds := 0, 0
	for seed := *first; total < *steps; seed++ {
		w := newWorld(seed, out)
		faults := true
		for idle := 0; w.steps < *each && idle < 100000; idle++ {
			if w.random.chance(200) {
				faults = !faults
			}
			w.step(faults)
		}
		total += w.steps
		worlds++
	}
	fmt.Fprintf(os.Stderr, "%d steps in %d worlds\n", total, worlds)
}
