package boltstore

import (
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
}

// A round is calls that are written at once, by one of their callers.
type round struct {
	calls []*call
	turn  chan struct{} // sent to the first caller when no other round is written
	done  chan struct{} // closed when this one is
}

// A group makes one round of the calls that come while another is written. Those
// that were answered just now mostly come again: a round waits for as many as
// there were before, but not for longer than they would wait for it.
type group struct {
	mu      sync.Mutex // protects what follows
	next    *round     // nil if nobody waits
	writing bool
	// callers were there when the last write ended, which took so long.
	callers int
	took    time.Duration
}

// do waits until write has written the changes, alone or with those of others.
func (g *group) do(changes []ipam.Change, write func([]*call)) error {
	c := &call{changes: changes}
	g.mu.Lock()
	r := g.next
	first := r == nil
	if first {
		r = &round{calls: make([]*call, 0, g.callers), turn: make(chan struct{}, 1), done: make(chan struct{})}
		g.next = r
	}
	r.calls = append(r.calls, c)
	last, writing := g.takeLocked(r, g.callers), g.writing
	g.mu.Unlock()
	if first && !last {
		last = g.lead(r, writing)
	}
	if last {
		g.write(r, write)
	} else {
		<-r.done
	}
	return c.err
}

// takeLocked reports whether the caller is to write a round: if it is its turn
// and it has so many calls. No call comes after that.
func (g *group) takeLocked(r *round, enough int) bool {
	if g.next != r || g.writing || len(r.calls) < enough {
		return false
	}
	g.next, g.writing = nil, true
	return true
}

// lead waits until it is a round's turn, and then for its last caller, who
// writes it. If that one does not come it reports that the first is to write.
func (g *group) lead(r *round, writing bool) bool {
	if writing {
		<-r.turn
	}
	g.mu.Lock()
	all, patience := g.takeLocked(r, g.callers), g.took
	g.mu.Unlock()
	if all {
		return true
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-r.done:
		return false
	case <-timer.C:
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.takeLocked(r, 0)
}

// write writes a round that was taken.
func (g *group) write(r *round, write func([]*call)) {
	began := time.Now()
	write(r.calls)
	g.mu.Lock()
	g.writing, g.callers, g.took = false, len(r.calls), time.Since(began)
	if g.next != nil {
		g.callers += len(g.next.calls)
		g.next.turn <- struct{}{}
	}
	g.mu.Unlock()
	close(r.done)
}
