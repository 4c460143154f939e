package boltstore

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tierloom/tierloom/ipam"
)

// A call is what one caller wants to commit.
type call struct {
	changes []ipam.Change
	old     []ipam.Record // what the changes found
	counted bool          // the changes are in Store.owned
	err     error
}

// A round is calls that are written at once. The first of its callers writes
// it, and the others wait for him.
type round struct {
	calls []*call
	size  atomic.Int64 // how many there are by now
	done  chan struct{}
}

// A group makes one round of the calls that come while another is written.
type group struct {
	writing sync.Mutex // held by who writes, and taken first; protects what follows
	// callers were there when the last write ended, which took so long.
	callers int64
	took    time.Duration

	mu   sync.Mutex // protects next and what it has
	next *round     // nil if nobody waits
}

// do waits until write has written the changes, alone or with those of others.
func (g *group) do(changes []ipam.Change, write func([]*call)) error {
	c := &call{changes: changes}
	g.mu.Lock()
	r := g.next
	first := r == nil
	if first {
		r = &round{done: make(chan struct{})}
		g.next = r
	}
	r.calls = append(r.calls, c)
	r.size.Add(1)
	g.mu.Unlock()
	if first {
		g.write(r, write)
	} else {
		<-r.done
	}
	return c.err
}

// write writes a round when it is its turn, with all who have come by then.
func (g *group) write(r *round, write func([]*call)) {
	g.writing.Lock()
	defer g.writing.Unlock()
	g.gather(r)
	g.mu.Lock()
	g.next = nil
	g.mu.Unlock()
	began := time.Now()
	write(r.calls)
	g.callers, g.took = r.size.Load(), time.Since(began)
	g.mu.Lock()
	if g.next != nil {
		g.callers += g.next.size.Load()
	}
	g.mu.Unlock()
	close(r.done)
}

// gather waits for callers. Those that were answered just now mostly come
// again: it waits for as many, but not for longer than it would save.
func (g *group) gather(r *round) {
	for began := time.Now(); r.size.Load() < g.callers && time.Since(began) < g.took/2; {
		runtime.Gosched()
	}
}
