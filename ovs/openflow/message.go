package openflow

import (
	"fmt"
	"time"

	"github.com/tierloom/tierloom/ovs"
)

// appendFlowMod appends a flow-mod (section 7.3.4.2).
func appendFlowMod(b []byte, xid uint32, command uint8, f *ovs.Flow) ([]byte, error) {
	start := len(b)
	b = begin(b, typeFlowMod, xid)
	b = be.AppendUint64(be.AppendUint64(b, f.Cookie), 0)
	b = append(b, f.Table, command)
	b = be.AppendUint16(be.AppendUint16(be.AppendUint16(b, f.IdleTimeout), f.HardTimeout), f.Priority)
	b = be.AppendUint32(be.AppendUint32(be.AppendUint32(b, noBuffer), anyPort), anyGroup)
	b = be.AppendUint16(be.AppendUint16(b, uint16(f.Flags)), f.Importance)
	b = appendMatch(b, f.Match)
	if command == flowAdd {
		var err error
		if b, err = appendInstructions(b, f.Actions); err != nil {
			return b, err
		}
	}
	if len(b)-start > maxLen {
		return b, fmt.Errorf("openflow: flow %s: %d bytes, a message holds %d", f, len(b)-start, maxLen)
	}
	return end(b, start), nil
}

// appendGroupMod appends a group-mod (section 7.3.4.3).
func appendGroupMod(b []byte, xid uint32, command uint16, g *ovs.Group) ([]byte, error) {
	start := len(b)
	b = be.AppendUint16(begin(b, typeGroupMod, xid), command)
	b = be.AppendUint32(append(b, byte(g.Type), 0), g.ID)
	lengthAt := len(b)
	b = be.AppendUint32(append(b, 0, 0, 0, 0), allBucket)
	if command != groupDelete {
		from := len(b)
		for _, k := range g.Buckets {
			var err error
			if b, err = appendBucket(b, g.Type, &k); err != nil {
				return b, err
			}
		}
		if len(b)-from > maxLen {
			return b, fmt.Errorf("openflow: group %d: %d buckets do not fit a message", g.ID, len(g.Buckets))
		}
		be.PutUint16(b[lengthAt:], uint16(len(b)-from))
		b = appendSelection(b, g)
	}
	if len(b)-start > maxLen {
		return b, fmt.Errorf("openflow: group %d: %d bytes, a message holds %d", g.ID, len(b)-start, maxLen)
	}
	return end(b, start), nil
}

func appendBucket(b []byte, t ovs.GroupType, k *ovs.Bucket) ([]byte, error) {
	start := len(b)
	b = be.AppendUint32(append(b, 0, 0, 0, 0), k.ID)
	b, err := appendActions(b, k.Actions)
	if err != nil {
		return b, err
	}
	be.PutUint16(b[start+2:], uint16(len(b)-start-8))
	if t == ovs.Select {
		b = append(be.AppendUint16(append(b, 0, 0, 0, 8), k.Weight), 0, 0)
	}
	if k.WatchPort != 0 {
		b = be.AppendUint32(append(b, 0, 1, 0, 8), k.WatchPort)
	}
	be.PutUint16(b[start:], uint16(len(b)-start))
	return b, nil
}

// appendSelection appends Netronome's property for how a group selects.
func appendSelection(b []byte, g *ovs.Group) []byte {
	if g.Selection == "" {
		return b
	}
	start := len(b)
	b = be.AppendUint32(be.AppendUint32(append(b, 0xff, 0xff, 0, 0), ntr), 1)
	b = zeros(b, 4)
	var method [16]byte
	copy(method[:], g.Selection)
	b = be.AppendUint64(append(b, method[:]...), 0)
	for _, f := range g.Fields {
		b = f.AppendHeader(b)
		for range f.Bytes() {
			b = append(b, 0xff)
		}
	}
	be.PutUint16(b[start+2:], uint16(len(b)-start))
	return pad(b, start)
}

// A FlowStat is a flow with its counters. Flows that were read together may
// share their list of actions, which must not be changed.
type FlowStat struct {
	Flow           ovs.Flow
	Packets, Bytes uint64
	Duration       time.Duration
}

// readFlowStats reads the body of a flow description reply.
func readFlowStats(b []byte) ([]FlowStat, error) {
	var r flowReader
	return r.read(nil, b)
}

// appendGroupRequest asks for all groups (sections 7.3.5.8 and 7.3.5.9).
func appendGroupRequest(b []byte, xid uint32, what uint16) []byte {
	start := len(b)
	b = zeros(be.AppendUint16(begin(b, typeMultipartRequest, xid), what), 6)
	return end(zeros(be.AppendUint32(b, allGroups), 4), start)
}

// readGroups reads the body of a group description reply.
func readGroups(b []byte) ([]ovs.Group, error) {
	r := reader{b: b}
	var out []ovs.Group
	for len(r.b) > 0 {
		n := int(r.u16())
		e := r.sub(n - 2)
		if r.bad || n < 16 {
			return nil, malformed("group description of length %d", n)
		}
		g := ovs.Group{Type: ovs.GroupType(e.u8())}
		e.skip(1)
		g.ID = e.u32()
		buckets := e.sub(int(e.u16skip(6)))
		for len(buckets.b) > 0 {
			k, err := readBucket(&buckets)
			if err != nil {
				return nil, err
			}
			g.Buckets = append(g.Buckets, k)
		}
		if err := readSelection(&e, &g); err != nil {
			return nil, err
		}
		out = append(out, g)
	}
	return out, nil
}

// u16skip reads a number and passes over n bytes behind it.
func (r *reader) u16skip(n int) uint16 {
	v := r.u16()
	r.skip(n)
	return v
}

func readBucket(r *reader) (ovs.Bucket, error) {
	n, actions := int(r.u16()), int(r.u16())
	body := r.sub(n - 4)
	k := ovs.Bucket{ID: body.u32()}
	list := body.take(actions)
	if r.bad || body.bad || n < 8 {
		return k, malformed("bucket of length %d", n)
	}
	var err error
	if k.Actions, err = readActions(list, 0); err != nil {
		return k, err
	}
	for len(body.b) > 0 {
		typ, n := body.u16(), int(body.u16())
		v := body.sub(n - 4)
		if body.bad || n < 8 {
			return k, malformed("property of a bucket of length %d", n)
		}
		switch typ {
		case 0:
			k.Weight = v.u16()
		case 1:
			if k.WatchPort = v.u32(); k.WatchPort == ovs.PortAny {
				k.WatchPort = 0
			}
		}
	}
	return k, nil
}

func readSelection(r *reader, g *ovs.Group) error {
	for len(r.b) > 0 {
		typ, n := r.u16(), int(r.u16())
		v := r.sub(n - 4)
		r.skip((8 - n%8) % 8)
		if r.bad || n < 4 {
			return malformed("property of group %d", g.ID)
		}
		if typ != 0xffff || v.u32() != ntr {
			continue
		}
		v.skip(8)
		method := v.take(16)
		for i, c := range method {
			if c == 0 {
				method = method[:i]
				break
			}
		}
		g.Selection = string(method)
		v.skip(8)
		for len(v.b) >= 4 {
			f, header, ok := ovs.ReadField(v.b)
			size := int(v.b[3])
			v.skip(max(header, 4))
			v.skip(size + 4 - max(header, 4)) // the mask
			// A field that package ovs has no name for can only be another program's.
			if ok {
				g.Fields = append(g.Fields, f)
			}
		}
		if v.bad {
			return malformed("selection of group %d is cut short", g.ID)
		}
	}
	return nil
}
