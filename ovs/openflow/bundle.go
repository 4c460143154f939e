package openflow

import (
	"context"
	"fmt"

	"github.com/tierloom/tierloom/ovs"
)

// Apply makes the changes and returns when they are in force.
//
// Up to Config.AtomicLimit messages go in one atomic, ordered bundle: with an
// [*Error], which names the flow or group, the switch has none of them. More go
// as [Conn.AddFlows] sends them, in atomic bundles of at most 1,000, in order:
// with an error the switch has those before the bundle that was refused, none
// after. When the context ends first, or the connection, it is unknown whether
// it has the last bundle.
func (c *Conn) Apply(ctx context.Context, ch ovs.Changes) error {
	n := ch.Len()
	switch {
	case n == 0:
		return nil
	case n > c.cfg.AtomicLimit:
		_, err := c.stream(ctx, edits(ch))
		return err
	}
	r := c.reserve(n+2, func(i int) string { return bundleText(ch, i) }, committed)
	w := bundleWriter{version: c.version, b: make([]byte, 0, 200*n+64), id: c.nextBundle(), xid: r.first}
	w.control(bundleOpen)
	for e := range edits(ch) {
		if err := w.add(e); err != nil {
			return err
		}
	}
	w.control(bundleCommit)
	return c.do(ctx, r, w.b, nil)
}

// bundleText says what the ith message of a bundle is about.
func bundleText(ch ovs.Changes, i int) string {
	n := 0
	for e := range edits(ch) {
		if n++; n == i {
			return e.String()
		}
	}
	return bundleEnd(i)
}

func bundleEnd(i int) string {
	if i == 0 {
		return "bundle"
	}
	return "bundle commit"
}

// committed expects the answers to a bundle: that it is open, and that it is
// in force. Those to the messages within come only when they are refused.
func committed(i, n int, typ uint8, body []byte) (part []byte, last bool, err error) {
	r := reader{b: body}
	if typ == typeExperimenter && r.u32() == onf && r.u32() == onfBundleControl {
		typ = typeBundleControl
	}
	r.skip(4)
	kind := r.u16()
	opened, done := i == 0 && kind == bundleOpen+1, i == n-1 && kind == bundleCommit+1
	if typ != typeBundleControl || !opened && !done {
		return nil, false, unexpected(i, n, typ)
	}
	return nil, done, nil
}

func (c *Conn) nextBundle() uint32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bundle++
	return c.bundle
}

// A bundleWriter lays the messages of a bundle out (section 7.3.9).
type bundleWriter struct {
	version Version
	b       []byte
	id, xid uint32 // xid is the next
}

const bundleFlags = bundleAtomic | bundleOrdered

// Messages of the ONF's, by which OpenFlow 1.3 has bundles (EXT-230).
const (
	onfBundleControl = 2300
	onfBundleAdd     = 2301
)

// begin starts a message of a bundle.
func (w *bundleWriter) begin(typ uint8, older uint32, control uint16) {
	if w.version == OpenFlow13 {
		w.b = be.AppendUint32(be.AppendUint32(begin(w.b, typeExperimenter, w.xid), onf), older)
	} else {
		w.b = begin(w.b, typ, w.xid)
	}
	w.b = be.AppendUint16(be.AppendUint32(w.b, w.id), control)
	w.b = be.AppendUint16(w.b, bundleFlags)
}

func (w *bundleWriter) control(typ uint16) {
	start := len(w.b)
	w.begin(typeBundleControl, onfBundleControl, typ)
	w.b = end(w.b, start)
	w.xid++
}

// add appends the message around an edit; with an error, nothing.
func (w *bundleWriter) add(e edit) error {
	start := len(w.b)
	w.begin(typeBundleAdd, onfBundleAdd, 0)
	inner := len(w.b)
	b, err := e.append(w.b, w.xid, w.version)
	if err == nil && len(b)-start > maxLen {
		err = fmt.Errorf("openflow: %s: %d bytes, a message holds %d", e, len(b)-start, maxLen)
	}
	if err != nil {
		w.b = w.b[:start]
		return err
	}
	b[inner] = byte(w.version)
	w.b = end(b, start)
	w.xid++
	return nil
}
