package ovstest

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/tierloom/tierloom/ovs"
)

// actions does a list of actions. It ends early where the packet does.
func (r *tracer) actions(w *walk, list []ovs.Action, table uint8, depth int) {
	for _, a := range list {
		if w.exit || r.out.Err != nil {
			return
		}
		r.out.Steps = append(r.out.Steps, Step{Depth: depth, Table: table, Action: a})
		switch a := a.(type) {
		case ovs.OutputAction:
			r.output(w, a.Port)
		case ovs.OutputMaxAction:
			r.output(w, a.Port)
		case ovs.OutputFieldAction:
			r.output(w, uint32(number(w.p.bits(a.Field))))
		case ovs.ControllerAction:
			r.out.Outputs = append(r.out.Outputs, Sent{ovs.PortController, w.p})
		case ovs.ResubmitAction:
			r.resubmit(w, a, table, depth)
		case ovs.GotoAction:
			r.table(w, a.Table, depth)
		case ovs.GroupAction:
			r.group(w, a.ID, table, depth)
		case ovs.CloneAction:
			r.aside(w, a.Actions, table, depth)
		case ovs.CTAction:
			r.ct(w, a)
		case ovs.ExitAction:
			w.exit = true
		default:
			if !r.modify(w, a) {
				return
			}
		}
	}
}

// modify does an action that changes the packet and sends it nowhere. It
// reports false where the flow ends with it.
func (r *tracer) modify(w *walk, a ovs.Action) bool {
	switch a := a.(type) {
	case ovs.SetFieldAction:
		w.p = w.p.write(a.FieldMatch)
	case ovs.MoveAction:
		w.p = w.p.setBits(a.Dst, w.p.bits(a.Src))
	case ovs.WriteMetadataAction:
		w.p = w.p.write(ovs.NewFieldMatch(ovs.FieldMetadata,
			binary.BigEndian.AppendUint64(nil, a.Value), binary.BigEndian.AppendUint64(nil, a.Mask)))
	case ovs.StackPushAction:
		w.stack = append(w.stack, w.p.bits(a.Field))
	case ovs.StackPopAction:
		w.pop(a.Field)
	case ovs.PushVLANAction:
		w.p = w.p.push()
	case ovs.PopVLANAction:
		w.p = w.p.pop()
	case ovs.DecTTLAction, ovs.DecTTLIDsAction:
		if !w.decTTL() {
			r.out.Outputs = append(r.out.Outputs, Sent{ovs.PortController, w.p}) // to whoever wants to know
			return false
		}
	case ovs.SetTTLAction:
		w.p = w.p.write(ovs.NewFieldMatch(ovs.FieldIPTTL, []byte{a.TTL}, nil))
	case ovs.CTClearAction:
		w.p = state(w.p, 0, 0, nil)
	case ovs.CheckPktLargerAction:
		larger := byte(0)
		if r.cfg.Length > int(a.Length) {
			larger = 1
		}
		w.p = w.p.setBits(a.Dst, []byte{larger})
	case ovs.ConjunctionAction, ovs.NoteAction, ovs.MeterAction, ovs.SetQueueAction, ovs.PopQueueAction,
		ovs.FinTimeoutAction, ovs.SampleAction, ovs.LearnAction:
	default:
		r.out.Err = fmt.Errorf("%s: %w", a, errors.ErrUnsupported)
	}
	return true
}

// pop takes the top of the stack; what it lacks of the field's bits is 0. An
// empty stack leaves the packet as it is.
func (w *walk) pop(f ovs.Subfield) {
	if len(w.stack) == 0 {
		return
	}
	top := w.stack[len(w.stack)-1]
	w.stack = w.stack[:len(w.stack)-1]
	bits := make([]byte, f.Size)
	for i := 1; i <= min(len(bits), len(top)); i++ {
		bits[len(bits)-i] = top[len(top)-i]
	}
	w.p = w.p.setBits(f, bits)
}

// decTTL subtracts one from the TTL; it reports false where that runs out.
func (w *walk) decTTL() bool {
	ether := w.p.Uint(ovs.FieldEthType)
	if ether != 0x0800 && ether != 0x86dd {
		return true
	}
	ttl := byte(w.p.Uint(ovs.FieldIPTTL))
	if ttl <= 1 {
		return false
	}
	w.p = w.p.write(ovs.NewFieldMatch(ovs.FieldIPTTL, []byte{ttl - 1}, nil))
	return true
}

// ct hands the packet to connection tracking. With a table, a copy goes on
// there with what was found; the packet goes on with the next action, untracked.
func (r *tracer) ct(w *walk, a ovs.CTAction) {
	zone := a.Zone
	if a.ZoneField != nil {
		zone = uint16(number(w.p.bits(*a.ZoneField)))
	}
	if a.Force {
		if t, ok := tupleOf(w.p, zone); ok && r.conns[t] != nil {
			conn := r.conns[t]
			delete(r.conns, conn.original)
			delete(r.conns, conn.reply)
		}
	}
	tracked := r.conns.track(w.p, zone, a.NAT)
	if a.Commit {
		var conn *connection
		if tracked, conn = r.conns.commit(tracked, zone, a.NAT); conn != nil {
			r.exec(w, conn, a.Exec)
			tracked = tracked.with(ovs.FieldCTMark, conn.mark).with(ovs.FieldCTLabel, conn.label)
		}
	}
	if a.HasTable {
		r.queue = append(r.queue, resumed{tracked, a.Table})
	}
	w.p = state(w.p, 0, 0, nil)
}

// exec writes the mark and label of a connection.
func (r *tracer) exec(w *walk, conn *connection, list []ovs.Action) {
	p := w.p.with(ovs.FieldCTMark, conn.mark).with(ovs.FieldCTLabel, conn.label)
	inner := &walk{p: p}
	for _, a := range list {
		r.modify(inner, a)
	}
	conn.mark, conn.label = inner.p.get(ovs.FieldCTMark), inner.p.get(ovs.FieldCTLabel)
}

// number returns bits, highest first, as a number.
func number(bits []byte) (n uint64) {
	for _, b := range bits {
		n = n<<1 | uint64(b)
	}
	return n
}
