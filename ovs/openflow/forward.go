package openflow

import "github.com/tierloom/tierloom/ovs"

// typeForward is a request of another connection's (section 7.4.6).
const typeForward = 32

// A GroupChanged says that another connection changed groups, as
// Async.Forwarded asks for.
type GroupChanged struct {
	Command uint16 // 0 add, 1 modify, 2 delete, 3 insert and 5 remove buckets
	Group   ovs.Group
	Bucket  uint32 // of the commands about buckets
}

func (GroupChanged) event() {}

// A MeterChanged says that another connection changed a meter.
type MeterChanged struct {
	Command uint16 // 0 add, 1 modify, 2 delete
	Meter   Meter
}

func (MeterChanged) event() {}

func readForward(b []byte) (Event, error) {
	r := reader{b: b}
	version, typ, n := Version(r.u8()), r.u8(), int(r.u16())
	r.skip(4)
	inner := r.sub(n - headerLen)
	switch {
	case r.bad:
		return nil, malformed("forwarded message of length %d", n)
	case typ == typeGroupMod && version == OpenFlow15:
		return readGroupChanged(inner)
	case typ == typeGroupMod:
		return readOlderGroupChanged(inner)
	case typ == typeMeterMod:
		return readMeterChanged(inner)
	}
	return nil, malformed("forwarded message of type %d", typ)
}

func readGroupChanged(r reader) (Event, error) {
	e := GroupChanged{Command: r.u16(), Group: ovs.Group{Type: ovs.GroupType(r.u8())}}
	r.skip(1)
	e.Group.ID = r.u32()
	buckets := r.sub(int(r.u16skip(2)) + 4)
	e.Bucket = buckets.u32()
	for len(buckets.b) > 0 {
		k, err := readBucket(&buckets)
		if err != nil {
			return nil, err
		}
		e.Group.Buckets = append(e.Group.Buckets, k)
	}
	if r.bad || buckets.bad {
		return nil, malformed("forwarded group is cut short")
	}
	if err := readSelection(&r, &e.Group); err != nil {
		return nil, err
	}
	return e, nil
}

func readOlderGroupChanged(r reader) (Event, error) {
	e := GroupChanged{Command: r.u16(), Group: ovs.Group{Type: ovs.GroupType(r.u8())}, Bucket: BucketAll}
	r.skip(1)
	e.Group.ID = r.u32()
	for len(r.b) > 0 {
		k, err := readOlderBucket(&r)
		if err != nil {
			return nil, err
		}
		k.ID = uint32(len(e.Group.Buckets))
		e.Group.Buckets = append(e.Group.Buckets, k)
	}
	if r.bad {
		return nil, malformed("forwarded group is cut short")
	}
	return e, nil
}

func readMeterChanged(r reader) (Event, error) {
	e := MeterChanged{Command: r.u16(), Meter: Meter{Flags: MeterFlags(r.u16()), ID: r.u32()}}
	if e.Meter.Bands = readBands(&r); r.bad {
		return nil, malformed("forwarded meter is cut short")
	}
	return e, nil
}
