package boltstore

import (
	"iter"
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

// A round is calls that are written at once. The first of its callers writes it,
// and the others wait for him.
type round struct {
	calls []*call
	want  int           // calls that are worth waking the first for, 0 for none
	more  chan struct{} // sent when there are so many
	done  chan struct{} // closed when the round is written
}

// A group makes one round of the calls that come while another is written. Who
// was answered mostly comes again: a round waits for as many as there were when
// the last one ended, but not for longer than that waited for the disk.
type group struct {
	writing sync.Mutex // held by who writes a round, and taken first; protects took
	took    time.Duration

	mu      sync.Mutex // protects what follows, and the calls of next
	next    *round     // nil if nobody waits
	callers int        // were there when the last round ended
}

// do waits until write has written the changes, alone or with those of others,
// which it is given as they come.
func (g *group) do(changes []ipam.Change, write func(iter.Seq[*call])) error {
	c := &call{changes: changes}
	g.mu.Lock()
	r := g.next
	first := r == nil
	if first {
		r = &round{calls: make([]*call, 0, g.callers), more: make(chan struct{}, 1), done: make(chan struct{})}
		g.next = r
	}
	r.calls = append(r.calls, c)
	if len(r.calls) == r.want {
		r.more <- struct{}{}
	}
	g.mu.Unlock()
	if first {
		g.write(r, write)
	} else {
		<-r.done
	}
	return c.err
}

func (g *group) write(r *round, write func(iter.Seq[*call])) {
	g.writing.Lock()
	defer g.writing.Unlock()
	var began time.Time
	write(func(yield func(*call) bool) {
		g.each(r, yield)
		began = time.Now()
	})
	g.took = time.Since(began)
	g.mu.Lock()
	g.callers = len(r.calls)
	if g.next != nil {
		g.callers += len(g.next.calls)
	}
	g.mu.Unlock()
	close(r.done)
}

// stride is how many calls are waited for at once, while others prepare theirs.
const stride = 4

// each yields the calls of a round as they come. When all are there, or have
// been waited for too long, no more come. It may be called again for the same.
func (g *group) each(r *round, yield func(*call) bool) {
	patience := time.NewTimer(g.took)
	defer patience.Stop()
	for n, late := 0, false; ; {
		g.mu.Lock()
		if g.next == r && (late || len(r.calls) >= g.callers) {
			g.next = nil
		}
		calls, all := r.calls[n:], g.next != r
		if len(calls) == 0 {
			r.want = min(n+stride, g.callers)
		}
		g.mu.Unlock()
		for _, c := range calls {
			if !yield(c) {
				return
			}
		}
		n += len(calls)
		switch {
		case all:
			return
		case len(calls) > 0:
			continue
		}
		select {
		case <-r.more:
		case <-patience.C:
			late = true
		}
	}
}
