package openflow

import (
	"context"
	"fmt"
	"time"
)

// A Meter limits the rate of what is sent through it (section 7.3.4.5).
type Meter struct {
	ID    uint32
	Flags MeterFlags
	Bands []Band
}

// MeterFlags say what a meter counts.
type MeterFlags uint16

// Flags of a Meter: one of MeterKbps and MeterPktps.
const (
	MeterKbps MeterFlags = 1 << iota
	MeterPktps
	MeterBurst // the bands' Burst counts
	MeterStats
)

// A Band is what happens above a rate.
type Band struct {
	Type  BandType
	Rate  uint32 // kbit/s or packets/s, as the meter's flags say
	Burst uint32 // kbit or packets
	// Precedence is by how much BandRemark raises the drop precedence.
	Precedence uint8
}

// A BandType says what a Band does to packets. Open vSwitch takes BandDrop only.
type BandType uint16

// Types of Band.
const (
	BandDrop BandType = 1 + iota
	BandRemark
)

// Meters of the switch itself, and all of them.
const (
	MeterSlowPath   = 0xfffffffd
	MeterController = 0xfffffffe
	MeterAll        = 0xffffffff
)

const (
	typeMeterMod       = 29
	multipartMeter     = 9
	multipartMeterDesc = 10
	multipartMeterFeat = 11
)

// AddMeter adds a meter.
func (c *Conn) AddMeter(ctx context.Context, m Meter) error {
	return c.meterMod(ctx, "add-meter", 0, m)
}

// ModifyMeter replaces the flags and bands of a meter.
func (c *Conn) ModifyMeter(ctx context.Context, m Meter) error {
	return c.meterMod(ctx, "mod-meter", 1, m)
}

// DeleteMeter deletes a meter, or [MeterAll], with the flows that use it.
func (c *Conn) DeleteMeter(ctx context.Context, id uint32) error {
	return c.meterMod(ctx, "del-meter", 2, Meter{ID: id})
}

func (c *Conn) meterMod(ctx context.Context, verb string, command uint16, m Meter) error {
	return c.confirmed(ctx, fmt.Sprintf("%s meter=%d", verb, m.ID), func(xid uint32) ([]byte, error) {
		b := be.AppendUint16(begin(nil, typeMeterMod, xid), command)
		b = be.AppendUint32(be.AppendUint16(b, uint16(m.Flags)), m.ID)
		for _, band := range m.Bands {
			b = be.AppendUint16(be.AppendUint16(b, uint16(band.Type)), 16)
			b = be.AppendUint32(be.AppendUint32(b, band.Rate), band.Burst)
			b = append(b, band.Precedence, 0, 0, 0)
		}
		if len(b) > maxLen {
			return nil, fmt.Errorf("openflow: meter %d: %d bands do not fit a message", m.ID, len(m.Bands))
		}
		return end(b, 0), nil
	})
}

// Meters returns all meters.
func (c *Conn) Meters(ctx context.Context) ([]Meter, error) {
	return dump(ctx, c, "dump-meters", multipartMeterDesc, func(xid uint32) []byte {
		return multipartRequest(xid, multipartMeterDesc, MeterAll, 0)
	}, readMeters)
}

func readMeters(b []byte) ([]Meter, error) {
	r := reader{b: b}
	var out []Meter
	for len(r.b) > 0 {
		n := int(r.u16())
		e := r.sub(n - 2)
		m := Meter{Flags: MeterFlags(e.u16()), ID: e.u32()}
		if m.Bands = readBands(&e); r.bad || e.bad {
			return nil, malformed("meter of length %d", n)
		}
		out = append(out, m)
	}
	return out, nil
}

func readBands(r *reader) []Band {
	var out []Band
	for len(r.b) > 0 {
		typ, size := BandType(r.u16()), int(r.u16())
		v := r.sub(size - 4)
		out = append(out, Band{typ, v.u32(), v.u32(), v.u8()})
		r.bad = r.bad || v.bad
	}
	return out
}

// A MeterStat is the counters of a meter (section 7.3.5.12).
type MeterStat struct {
	ID             uint32
	Flows          uint32
	Packets, Bytes uint64
	Duration       time.Duration
	Bands          []BucketStat // in the meter's order
}

// MeterStats returns the counters of all meters.
func (c *Conn) MeterStats(ctx context.Context) ([]MeterStat, error) {
	return dump(ctx, c, "meter-stats", multipartMeter, func(xid uint32) []byte {
		return multipartRequest(xid, multipartMeter, MeterAll, 0)
	}, readMeterStats)
}

func readMeterStats(b []byte) ([]MeterStat, error) {
	r := reader{b: b}
	var out []MeterStat
	for len(r.b) > 0 {
		s := MeterStat{ID: r.u32()}
		n := int(r.u16())
		e := r.sub(n - 6)
		e.skip(6)
		s.Flows, s.Packets, s.Bytes, s.Duration = e.u32(), e.u64(), e.u64(), e.duration()
		for len(e.b) > 0 {
			s.Bands = append(s.Bands, BucketStat{e.u64(), e.u64()})
		}
		if r.bad || e.bad {
			return nil, malformed("counters of a meter of length %d", n)
		}
		out = append(out, s)
	}
	return out, nil
}

// MeterFeatures are what a switch can do with meters (section 7.3.5.14).
type MeterFeatures struct {
	Max       uint32 // number of meters
	BandTypes uint32 // 1<<BandDrop and so on
	Flags     MeterFlags
	MaxBands  uint8
}

// MeterFeatures asks the switch what it can do with meters.
func (c *Conn) MeterFeatures(ctx context.Context) (MeterFeatures, error) {
	list, err := dump(ctx, c, "meter-features", multipartMeterFeat, func(xid uint32) []byte {
		return multipartRequest(xid, multipartMeterFeat)
	}, func(b []byte) ([]MeterFeatures, error) {
		r := reader{b: b}
		f := MeterFeatures{Max: r.u32(), BandTypes: r.u32(), Flags: MeterFlags(r.u32()), MaxBands: r.u8()}
		if r.bad {
			return nil, malformed("meter features of %d bytes", len(b))
		}
		return []MeterFeatures{f}, nil
	})
	return one("meter-features", list, err)
}

// one is the only answer of a list.
func one[T any](what string, list []T, err error) (T, error) {
	var none T
	if err != nil {
		return none, err
	}
	if len(list) != 1 {
		return none, fmt.Errorf("openflow: %s: %w", what, malformed("%d answers", len(list)))
	}
	return list[0], nil
}

// multipartRequest asks for a kind of statistics, with numbers as body.
func multipartRequest(xid uint32, kind uint16, body ...uint32) []byte {
	b := zeros(be.AppendUint16(begin(nil, typeMultipartRequest, xid), kind), 6)
	for _, v := range body {
		b = be.AppendUint32(b, v)
	}
	return end(b, 0)
}
