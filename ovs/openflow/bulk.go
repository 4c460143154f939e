package openflow

import (
	"context"
	"iter"

	"github.com/tierloom/tierloom/ovs"
)

const (
	bulkSize  = 1000     // messages in a bundle
	bulkWrite = 48 << 10 // bytes in a write; a socket holds several

	bundleDiscard = 6 // beside the types of bundle control in wire.go
)

// AddFlows adds the flows of a sequence, which replace those with the same
// key, and returns how many are in force. They go in atomic bundles of at most
// 1,000; the switch works on one while the next is encoded and sent, so that
// memory is needed for two, however long the sequence is. With an error, which
// names the flow that was refused, the switch has the first n flows and no
// other; when the context ends, or the connection, it is unknown whether it has
// the bundle after those.
func (c *Conn) AddFlows(ctx context.Context, flows iter.Seq[ovs.Flow]) (n int, err error) {
	return c.stream(ctx, func(yield func(edit) bool) {
		// An edit is needed until its bundle is in force, which is before the
		// second next begins.
		held := make([]ovs.Flow, 2*bulkSize)
		i := 0
		for f := range flows {
			held[i%len(held)] = f
			if !yield(edit{verb: "add-flow", command: flowAdd, flow: &held[i%len(held)]}) {
				return
			}
			i++
		}
	})
}

// stream sends edits in bundles and returns how many are in force.
func (c *Conn) stream(ctx context.Context, list iter.Seq[edit]) (n int, err error) {
	s := bulk{c: c, ctx: ctx, w: bundleWriter{version: c.version}}
	for e := range list {
		if err = s.add(e); err != nil {
			break
		}
	}
	if err == nil {
		err = s.commit()
	}
	if earlier := s.settle(); earlier != nil {
		err = earlier
	}
	if s.now != nil {
		s.discard()
	}
	return s.inForce, err
}

// A bulk is a stream of bundles: one that is filled, and one that the switch
// commits meanwhile.
type bulk struct {
	c       *Conn
	ctx     context.Context
	w       bundleWriter
	now     *batch
	before  *batch
	inForce int
}

// A batch is the bundle of a bulk.
type batch struct {
	r     *request
	edits [bulkSize]edit
	n     int
}

// add puts an edit into the bundle; a full one is committed.
func (s *bulk) add(e edit) error {
	if s.now == nil {
		if err := s.open(); err != nil {
			return err
		}
	}
	if err := s.w.add(e); err != nil {
		return err
	}
	s.now.edits[s.now.n] = e
	if s.now.n++; s.now.n == bulkSize {
		return s.commit()
	}
	if len(s.w.b) >= bulkWrite {
		return s.flush()
	}
	return nil
}

func (s *bulk) open() error {
	now := &batch{}
	now.r = s.c.reserve(bulkSize+2, now.about, committed)
	now.r.sent = 0
	s.w.id, s.w.xid = s.c.nextBundle(), now.r.first
	if err := s.c.enter(now.r); err != nil {
		return err
	}
	s.now = now
	s.w.control(bundleOpen)
	return nil
}

// about is called with the Conn's mutex held, for what was sent.
func (t *batch) about(i int) string {
	if i == 0 || i == int(t.r.last-t.r.first) {
		return bundleEnd(i)
	}
	return t.edits[i-1].String()
}

// flush sends what is encoded.
func (s *bulk) flush() error {
	s.c.mu.Lock()
	s.now.r.sent = s.w.xid - s.now.r.first
	s.c.mu.Unlock()
	if err := s.c.send(s.ctx, s.w.b); err != nil {
		return s.c.abandon(s.now.r, err)
	}
	s.w.b = s.w.b[:0]
	return nil
}

// commit sends the rest of the bundle, and the word to commit it when the one
// before is in force.
func (s *bulk) commit() error {
	if s.now == nil {
		return nil
	}
	if err := s.flush(); err != nil {
		return err
	}
	if err := s.settle(); err != nil {
		return err
	}
	s.c.mu.Lock()
	s.now.r.last = s.w.xid
	s.c.mu.Unlock()
	s.w.control(bundleCommit)
	if err := s.flush(); err != nil {
		return err
	}
	s.before, s.now = s.now, nil
	return nil
}

// settle waits for the bundle before.
func (s *bulk) settle() error {
	t := s.before
	if t == nil {
		return nil
	}
	s.before = nil
	if err := s.c.wait(s.ctx, t.r, nil); err != nil {
		return err
	}
	s.inForce += t.n
	return nil
}

// discard gives the bundle up that is not committed.
func (s *bulk) discard() {
	_ = s.c.abandon(s.now.r, nil)
	s.w.b = nil // the old may still be on its way
	s.w.control(bundleDiscard)
	s.c.aside(s.w.b)
}
