package openflow

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/tierloom/tierloom/ovs"
)

// A Port is a port of a bridge (section 7.2.1).
type Port struct {
	Number uint32
	Name   string
	MAC    ovs.MAC
	Config PortConfig
	// LinkDown is set if it has no carrier.
	LinkDown bool
}

// A PortConfig is what a controller can have a port do otherwise than usual
// (section 7.2.1.2).
type PortConfig uint32

// Bits of a port's configuration.
const (
	PortDown       PortConfig = 1 << 0 // it is turned off
	PortNoReceive  PortConfig = 1 << 2 // packets from it are dropped
	PortNoForward  PortConfig = 1 << 5 // packets to it are dropped
	PortNoPacketIn PortConfig = 1 << 6 // packets from it that no flow matches are not sent to the controller
)

const typePortMod = 16

// SetPort sets the bits in mask of a port's configuration (section 7.3.4.4) to
// those in config. A port whose MAC is not the one given, as PortDesc has it,
// is refused: its number may be another port's by now.
func (c *Conn) SetPort(ctx context.Context, number uint32, mac ovs.MAC, config, mask PortConfig) error {
	return c.confirmed(ctx, fmt.Sprintf("mod-port %d", number), func(xid uint32) ([]byte, error) {
		b := be.AppendUint32(begin(nil, typePortMod, xid), number)
		b = zeros(append(zeros(b, 4), mac[:]...), 2)
		b = be.AppendUint32(be.AppendUint32(b, uint32(config)), uint32(mask))
		if c.version == OpenFlow13 {
			b = zeros(b, 8) // features to advertise: as they are
		}
		return end(b, 0), nil
	})
}

// A PortStat is the counters of a port since it was added (section 7.3.5.6).
type PortStat struct {
	Number               uint32
	RxPackets, TxPackets uint64
	RxBytes, TxBytes     uint64
	RxDropped, TxDropped uint64
	RxErrors, TxErrors   uint64
	Duration             time.Duration
}

// A GroupStat is the counters of a group (section 7.3.5.9).
type GroupStat struct {
	ID             uint32
	Packets, Bytes uint64
	Duration       time.Duration
	Buckets        []BucketStat // in the group's order
}

// A BucketStat is the counters of a bucket.
type BucketStat struct{ Packets, Bytes uint64 }

// appendPortRequest asks for all ports (sections 7.3.5.6 and 7.3.5.7).
func appendPortRequest(b []byte, xid uint32, what uint16) []byte {
	start := len(b)
	b = zeros(be.AppendUint16(begin(b, typeMultipartRequest, xid), what), 6)
	return end(zeros(be.AppendUint32(b, anyPort), 4), start)
}

func readPorts(b []byte) ([]Port, error) {
	r := reader{b: b}
	var out []Port
	for len(r.b) > 0 {
		p := Port{Number: r.u32()}
		n := int(r.u16())
		e := r.sub(n - 6)
		e.skip(2)
		copy(p.MAC[:], e.take(6))
		e.skip(2)
		name, _, _ := bytes.Cut(e.take(16), []byte{0})
		p.Name = string(name)
		p.Config = PortConfig(e.u32())
		p.LinkDown = e.u32()&1 != 0
		if r.bad || e.bad {
			return nil, malformed("port of length %d", n)
		}
		out = append(out, p)
	}
	return out, nil
}

func readPortStats(b []byte) ([]PortStat, error) {
	r := reader{b: b}
	var out []PortStat
	for len(r.b) > 0 {
		n := int(r.u16())
		e := r.sub(n - 2)
		e.skip(2)
		s := PortStat{Number: e.u32(), Duration: e.duration()}
		s.readCounters(&e)
		if r.bad || e.bad {
			return nil, malformed("counters of a port of length %d", n)
		}
		out = append(out, s)
	}
	return out, nil
}

func (s *PortStat) readCounters(r *reader) {
	for _, v := range []*uint64{&s.RxPackets, &s.TxPackets, &s.RxBytes, &s.TxBytes, &s.RxDropped, &s.TxDropped, &s.RxErrors, &s.TxErrors} {
		*v = r.u64()
	}
}

func readGroupStats(b []byte) ([]GroupStat, error) {
	r := reader{b: b}
	var out []GroupStat
	for len(r.b) > 0 {
		n := int(r.u16())
		e := r.sub(n - 2)
		e.skip(2)
		s := GroupStat{ID: e.u32()}
		e.skip(8)
		s.Packets, s.Bytes, s.Duration = e.u64(), e.u64(), e.duration()
		for len(e.b) > 0 {
			s.Buckets = append(s.Buckets, BucketStat{e.u64(), e.u64()})
		}
		if r.bad || e.bad {
			return nil, malformed("counters of a group of length %d", n)
		}
		out = append(out, s)
	}
	return out, nil
}

// duration reads seconds and nanoseconds.
func (r *reader) duration() time.Duration {
	return time.Duration(r.u32())*time.Second + time.Duration(r.u32())
}
