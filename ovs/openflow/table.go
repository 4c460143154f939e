package openflow

import (
	"bytes"
	"context"

	"github.com/tierloom/tierloom/ovs"
)

const (
	typeTableMod           = 17
	multipartTableStats    = 3
	multipartTableFeatures = 12
	multipartTableDesc     = 14
)

// A TableStat is the counters of a table (section 7.3.5.4).
type TableStat struct {
	Table            uint8
	Flows            uint32
	Lookups, Matched uint64
}

// TableStats returns the counters of all tables.
func (c *Conn) TableStats(ctx context.Context) ([]TableStat, error) {
	return dump(ctx, c, "dump-tables", multipartTableStats, func(xid uint32) []byte {
		return multipartRequest(xid, multipartTableStats)
	}, readTableStats)
}

func readTableStats(b []byte) ([]TableStat, error) {
	r := reader{b: b}
	var out []TableStat
	for len(r.b) > 0 {
		s := TableStat{Table: r.u8()}
		r.skip(3)
		if s.Flows, s.Lookups, s.Matched = r.u32(), r.u64(), r.u64(); r.bad {
			return nil, malformed("counters of a table are cut short")
		}
		out = append(out, s)
	}
	return out, nil
}

// A TableConfig is what can be set of a table (section 7.3.4.1).
type TableConfig struct {
	Table uint8
	// Evict lets a full table drop flows for new ones.
	Evict bool
	// VacancyDown and VacancyUp are percents of free space: when it falls below
	// the one, and rises above the other, a [TableStatus] is sent. Both 0 is
	// never.
	VacancyDown, VacancyUp uint8
	// Vacancy is the free space, as the switch says.
	Vacancy uint8
}

// Bits and properties of a table's configuration.
const (
	tableEvict   = 1 << 2
	tableVacancy = 1 << 3
	propEviction = 2
	propVacancy  = 3
)

// SetTable sets the configuration of a table; 255 is all.
func (c *Conn) SetTable(ctx context.Context, t TableConfig) error {
	if err := c.since(OpenFlow14, "mod-table"); err != nil {
		return err
	}
	return c.confirmed(ctx, "mod-table", func(xid uint32) ([]byte, error) {
		var config uint32
		if t.Evict {
			config |= tableEvict
		}
		var properties []byte
		if t.VacancyDown|t.VacancyUp != 0 {
			config |= tableVacancy
			properties = []byte{0, propVacancy, 0, 8, t.VacancyDown, t.VacancyUp, 0, 0}
		}
		b := be.AppendUint32(append(begin(nil, typeTableMod, xid), t.Table, 0, 0, 0), config)
		return end(append(b, properties...), 0), nil
	})
}

// Tables returns the configuration of all tables.
func (c *Conn) Tables(ctx context.Context) ([]TableConfig, error) {
	if err := c.since(OpenFlow14, "dump-table-desc"); err != nil {
		return nil, err
	}
	return dump(ctx, c, "dump-table-desc", multipartTableDesc, func(xid uint32) []byte {
		return multipartRequest(xid, multipartTableDesc)
	}, readTables)
}

func readTables(b []byte) ([]TableConfig, error) {
	r := reader{b: b}
	var out []TableConfig
	for len(r.b) > 0 {
		n := int(r.u16())
		e := r.sub(n - 2)
		t := TableConfig{Table: e.u8()}
		e.skip(1)
		t.Evict = e.u32()&tableEvict != 0
		for len(e.b) > 0 {
			typ, v, err := e.property()
			if err != nil {
				return nil, err
			}
			if typ == propVacancy {
				t.VacancyDown, t.VacancyUp, t.Vacancy = v.u8(), v.u8(), v.u8()
			}
			e.bad = e.bad || v.bad
		}
		if r.bad || e.bad {
			return nil, malformed("table of length %d", n)
		}
		out = append(out, t)
	}
	return out, nil
}

// A TableStatus says that a table's free space went past a limit
// (section 7.4.5).
type TableStatus struct {
	Rising bool // there is more again than VacancyUp, not less than VacancyDown
	Table  TableConfig
}

func (TableStatus) event() {}

func readTableStatus(b []byte) (Event, error) {
	r := reader{b: b}
	const vacancyUp = 4
	reason := r.u8()
	r.skip(7)
	tables, err := readTables(r.b)
	if err == nil && (r.bad || len(tables) != 1) {
		err = malformed("table status of %d bytes", len(b))
	}
	if err != nil {
		return nil, err
	}
	return TableStatus{reason == vacancyUp, tables[0]}, nil
}

// TableFeatures are what a table can do (section 7.3.5.18).
type TableFeatures struct {
	Table                        uint8
	Name                         string
	MetadataMatch, MetadataWrite uint64
	MaxFlows                     uint32
	// Match are the fields it can match, Wildcards those of them that may be
	// left out, SetField those that can be set. Fields that package ovs has no
	// name for are left out.
	Match, Wildcards, SetField []ovs.Field
	// Next are the tables that a flow can go on to.
	Next []uint8
}

// Properties of table features.
const (
	featNext      = 2
	featMatch     = 8
	featWildcards = 10
	featSetField  = 14 // by actions that are applied at once
)

// TableFeatures asks the switch what its tables can do.
func (c *Conn) TableFeatures(ctx context.Context) ([]TableFeatures, error) {
	return dump(ctx, c, "dump-table-features", multipartTableFeatures, func(xid uint32) []byte {
		return multipartRequest(xid, multipartTableFeatures)
	}, readTableFeatures)
}

func readTableFeatures(b []byte) ([]TableFeatures, error) {
	r := reader{b: b}
	var out []TableFeatures
	for len(r.b) > 0 {
		n := int(r.u16())
		e := r.sub(n - 2)
		t := TableFeatures{Table: e.u8()}
		e.skip(5)
		name, _, _ := bytes.Cut(e.take(32), []byte{0})
		t.Name = string(name)
		t.MetadataMatch, t.MetadataWrite = e.u64(), e.u64()
		e.skip(4)
		t.MaxFlows = e.u32()
		for len(e.b) > 0 {
			typ, v, err := e.property()
			if err != nil {
				return nil, err
			}
			switch typ {
			case featNext:
				t.Next = append(t.Next, v.b...)
			case featMatch:
				t.Match = readFieldList(v)
			case featWildcards:
				t.Wildcards = readFieldList(v)
			case featSetField:
				t.SetField = readFieldList(v)
			}
		}
		if r.bad || e.bad {
			return nil, malformed("features of a table of length %d", n)
		}
		out = append(out, t)
	}
	return out, nil
}

// readFieldList reads headers of fields.
func readFieldList(r reader) []ovs.Field {
	var out []ovs.Field
	for len(r.b) >= 4 {
		f, n, ok := ovs.ReadField(r.b)
		if r.skip(max(n, 4)); ok {
			out = append(out, f)
		}
	}
	return out
}
