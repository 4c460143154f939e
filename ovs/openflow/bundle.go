package openflow

import (
	"context"
	"fmt"

	"github.com/tierloom/tierloom/ovs"
)

// Apply makes the changes in one atomic, ordered bundle and returns when they
// are in force. With an [*Error], which names the flow or group, the switch
// has none of them. When the context ends first, or the connection, it is
// unknown whether it has.
func (c *Conn) Apply(ctx context.Context, ch ovs.Changes) error {
	n := ch.Len()
	if n == 0 {
		return nil
	}
	about := func(i int) string {
		switch i {
		case 0:
			return "bundle open"
		case n + 1:
			return "bundle commit"
		}
		return change(ch, i-1)
	}
	r := c.reserve(n+2, about, committed)
	w := bundleWriter{b: make([]byte, 0, 200*n+64), id: c.nextBundle(), xid: r.first}
	w.control(bundleOpen)
	if err := w.changes(ch); err != nil {
		return err
	}
	w.control(bundleCommit)
	return c.do(ctx, r, w.b, nil)
}

// committed expects the answers to a bundle: that it is open, and that it is
// in force. Those to the messages within come only when they are refused.
func committed(i, n int, typ uint8, body []byte) (part []byte, last bool, err error) {
	r := reader{b: body}
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

// change is the ith change as text, in the order of ovs.Changes.
func change(c ovs.Changes, i int) string {
	for _, part := range []struct {
		verb string
		n    int
		text func(i int) string
	}{
		{"add-group", len(c.GroupAdd), func(i int) string { return c.GroupAdd[i].String() }},
		{"mod-group", len(c.GroupModify), func(i int) string { return c.GroupModify[i].String() }},
		{"add-flow", len(c.FlowAdd), func(i int) string { return c.FlowAdd[i].String() }},
		{"del-flow", len(c.FlowDelete), func(i int) string { return c.FlowDelete[i].String() }},
		{"del-group", len(c.GroupDelete), func(i int) string { return fmt.Sprintf("group_id=%d", c.GroupDelete[i]) }},
	} {
		if i < part.n {
			return part.verb + " " + part.text(i)
		}
		i -= part.n
	}
	return "change"
}

// A bundleWriter lays the messages of a bundle out (section 7.3.9).
type bundleWriter struct {
	b       []byte
	id, xid uint32
}

const bundleFlags = bundleAtomic | bundleOrdered

func (w *bundleWriter) control(typ uint16) {
	start := len(w.b)
	w.b = be.AppendUint32(begin(w.b, typeBundleControl, w.xid), w.id)
	w.b = end(be.AppendUint16(be.AppendUint16(w.b, typ), bundleFlags), start)
	w.xid++
}

// open begins the message around a change; close ends it.
func (w *bundleWriter) open() (start int) {
	start = len(w.b)
	w.b = be.AppendUint32(begin(w.b, typeBundleAdd, w.xid), w.id)
	w.b = be.AppendUint16(append(w.b, 0, 0), bundleFlags)
	return start
}

func (w *bundleWriter) close(start int, err error, what fmt.Stringer) error {
	if err == nil && len(w.b)-start > maxLen {
		err = fmt.Errorf("openflow: %s: %d bytes, a message holds %d", what, len(w.b)-start, maxLen)
	}
	if err != nil {
		return err
	}
	w.b = end(w.b, start)
	w.xid++
	return nil
}

func (w *bundleWriter) group(command uint16, g *ovs.Group) error {
	start := w.open()
	var err error
	w.b, err = appendGroupMod(w.b, w.xid, command, g)
	return w.close(start, err, g)
}

func (w *bundleWriter) flow(command uint8, f *ovs.Flow) error {
	start := w.open()
	var err error
	w.b, err = appendFlowMod(w.b, w.xid, command, f)
	return w.close(start, err, f)
}

func (w *bundleWriter) changes(ch ovs.Changes) error {
	for i := range ch.GroupAdd {
		if err := w.group(groupAdd, &ch.GroupAdd[i]); err != nil {
			return err
		}
	}
	for i := range ch.GroupModify {
		if err := w.group(groupModify, &ch.GroupModify[i]); err != nil {
			return err
		}
	}
	for i := range ch.FlowAdd {
		if err := w.flow(flowAdd, &ch.FlowAdd[i]); err != nil {
			return err
		}
	}
	for i := range ch.FlowDelete {
		if err := w.flow(flowDeleteStrict, &ch.FlowDelete[i]); err != nil {
			return err
		}
	}
	for _, id := range ch.GroupDelete {
		if err := w.group(groupDelete, &ovs.Group{ID: id}); err != nil {
			return err
		}
	}
	return nil
}
