package boltstore

import (
	"runtime"
	"sync"
	"time"

	"github.com/tierloom/tierloom/ipam"
)

// A call is what one caller wants to commit.
type call struct {
	changes []ipam.Change
	old     []ipam.Record // what the changes found
	counted bool          // the changes are in Store.owned
	err     error
	// done is sent true to who is to write next, and false when it is written.
	done chan bool
}

// A group makes one write of the calls that come while another is on its way.
type group struct {
	mu      sync.Mutex // protects what follows
	waiting []*call
	writing bool
	// callers were there when the last write ended, which took so long.
	callers int
	took    time.Duration
}

// do waits until write has written the changes, alone or with those of others.
func (g *group) do(changes []ipam.Change, write func([]*call)) error {
	c := &call{changes: changes, done: make(chan bool, 1)}
	g.mu.Lock()
	g.waiting = append(g.waiting, c)
	first := !g.writing
	g.writing = true
	g.mu.Unlock()
	if !first && !<-c.done {
		return c.err
	}
	calls := g.take()
	began := time.Now()
	write(calls)
	g.mu.Lock()
	g.callers, g.took = len(calls)+len(g.waiting), time.Since(began)
	for _, other := range calls {
		if other != c {
			other.done <- false
		}
	}
	if g.writing = len(g.waiting) > 0; g.writing {
		g.waiting[0].done <- true
	}
	g.mu.Unlock()
	return c.err
}

// take returns the calls to write. Those that were answered just now mostly come
// again: it waits for them, but not for longer than it would save.
func (g *group) take() []*call {
	for began := time.Now(); ; runtime.Gosched() {
		g.mu.Lock()
		enough := len(g.waiting) >= g.callers || time.Since(began) > g.took/2
		g.mu.Unlock()
		if enough {
			break
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	calls := g.waiting
	g.waiting = nil
	return calls
}
