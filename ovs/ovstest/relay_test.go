package ovstest_test

import (
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// A relay is a unix socket before another one: it can be cut and stalled.
type relay struct {
	path, target string
	ln           net.Listener
	wg           sync.WaitGroup

	mu    sync.Mutex
	pairs map[*pair]bool
	count int
	flow  chan struct{} // closed while bytes flow
}

// A pair is one connection through a relay.
type pair struct {
	near, far net.Conn
	once      sync.Once
	ended     chan struct{}
}

func (p *pair) end() {
	p.once.Do(func() {
		close(p.ended)
		p.near.Close()
		p.far.Close()
	})
}

func newRelay(t *testing.T, path, target string) *relay {
	t.Helper()
	ln, err := net.Listen("unix", path)
	require.NoError(t, err)
	r := &relay{path: path, target: target, ln: ln, pairs: map[*pair]bool{}, flow: make(chan struct{})}
	close(r.flow)
	r.wg.Go(r.accept)
	return r
}

func (r *relay) accept() {
	for {
		near, err := r.ln.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("unix", r.target)
		if err != nil {
			near.Close()
			continue
		}
		p := &pair{near: near, far: far, ended: make(chan struct{})}
		r.mu.Lock()
		r.pairs[p] = true
		r.count++
		r.mu.Unlock()
		r.wg.Go(func() { r.pump(p, near, far) })
		r.wg.Go(func() { r.pump(p, far, near) })
	}
}

func (r *relay) pump(p *pair, from, to net.Conn) {
	defer func() {
		p.end()
		r.mu.Lock()
		delete(r.pairs, p)
		r.mu.Unlock()
	}()
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if err != nil {
			return
		}
		r.mu.Lock()
		flow := r.flow
		r.mu.Unlock()
		select {
		case <-flow:
		case <-p.ended:
			return
		}
		if _, err := to.Write(b[:n]); err != nil {
			return
		}
	}
}

// cut ends all connections.
func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for p := range r.pairs {
		p.end()
	}
}

// stall holds all bytes back, of new connections too, and returns what lets
// them flow again.
func (r *relay) stall() (resume func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	flow := make(chan struct{})
	r.flow = flow
	return func() { close(flow) }
}

// connections returns how many there are now, accepted how many there ever were.
func (r *relay) connections() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.pairs)
}

func (r *relay) accepted() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count
}

func (r *relay) close() {
	r.ln.Close()
	r.cut()
	r.wg.Wait()
}
