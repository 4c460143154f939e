package ovsdb

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// MirrorSpec is a Mirror (SPAN): it copies packets of some ports to another.
type MirrorSpec struct {
	Bridge, Name string
	All          bool     // every packet of the bridge; else those of
	From, To     []string // ports that receive them from outside; ports they leave by
	Output       string   // the port that gets the copies
}

// EnsureMirror makes the mirror, or brings the one there is into shape. Open
// vSwitch 3.1 may have packets of a connection that is under way go on as
// before the change until it is silent for some seconds.
func (s *VSwitch) EnsureMirror(ctx context.Context, spec MirrorSpec) error {
	if spec.Name == "" || spec.Output == "" {
		return wrap(errors.New("want a name and an output port"), "mirror", spec.Name)
	}
	if spec.All == (len(spec.From)+len(spec.To) > 0) {
		return wrap(errors.New("want either all packets or some ports"), "mirror", spec.Name)
	}
	return wrap(s.attached(ctx, spec.Bridge, "mirrors", "Mirror", func(r Row) bool { return r["name"] == spec.Name },
		func(v View, b bridgeRow) (Row, error) {
			row := Row{"name": spec.Name, "select_all": spec.All}
			var err error
			if row["select_src_port"], err = portIDs(v, b, spec.From); err != nil {
				return nil, err
			}
			if row["select_dst_port"], err = portIDs(v, b, spec.To); err != nil {
				return nil, err
			}
			row["output_port"], err = portIDs(v, b, []string{spec.Output})
			return row, err
		}), "mirror", spec.Name)
}

// DeleteMirror removes a mirror. One that is not there is no error.
func (s *VSwitch) DeleteMirror(ctx context.Context, bridge, name string) error {
	return wrap(s.attached(ctx, bridge, "mirrors", "Mirror", func(r Row) bool { return r["name"] == name }, nil), "mirror", name)
}

func portIDs(v View, b bridgeRow, names []string) (Set, error) {
	ids := Set{}
	for _, name := range names {
		row, ok := v.Find("Port", "name", name)
		id, _ := row["_uuid"].(UUID)
		if !ok || !slices.Contains(b.Ports, id) {
			return nil, fmt.Errorf("port %q of bridge %q: %w", name, b.Name, ErrNotFound)
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// IPFIXSpec has a bridge report sampled packets by IPFIX (RFC 7011).
type IPFIXSpec struct {
	Targets            []string // collectors, IP:PORT
	Sampling           uint32   // one packet of so many; 0 is ovs-vswitchd's
	ObsDomain          uint32
	ObsPoint           uint32
	CacheActiveTimeout uint16 // seconds, at most 4200; 0 exports at once
	CacheMaxFlows      uint32 // 0 caches nothing
}

// SetIPFIX sets the bridge's IPFIX; nil turns it off.
func (s *VSwitch) SetIPFIX(ctx context.Context, bridge string, spec *IPFIXSpec) error {
	var row Row
	if spec != nil {
		if len(spec.Targets) == 0 {
			return wrap(errors.New("ipfix: no targets"), "bridge", bridge)
		}
		row = Row{"targets": spec.Targets, "sampling": optional(spec.Sampling),
			"obs_domain_id": spec.ObsDomain, "obs_point_id": spec.ObsPoint,
			"cache_active_timeout": spec.CacheActiveTimeout, "cache_max_flows": spec.CacheMaxFlows}
	}
	return s.sole(ctx, bridge, "ipfix", "IPFIX", row)
}

// SFlowSpec has a bridge report sampled packets and counters by sFlow version 5.
type SFlowSpec struct {
	Targets  []string // collectors, IP:PORT
	Agent    string   // the device whose address is the agent's; "" is found by the route
	Header   uint32   // bytes of a packet; 0 is ovs-vswitchd's
	Polling  uint32   // seconds between counters; 0 is ovs-vswitchd's
	Sampling uint32   // one packet of so many; 0 is ovs-vswitchd's
}

// SetSFlow sets the bridge's sFlow; nil turns it off.
func (s *VSwitch) SetSFlow(ctx context.Context, bridge string, spec *SFlowSpec) error {
	var row Row
	if spec != nil {
		if len(spec.Targets) == 0 {
			return wrap(errors.New("sflow: no targets"), "bridge", bridge)
		}
		row = Row{"targets": spec.Targets, "agent": Set{}, "header": optional(spec.Header),
			"polling": optional(spec.Polling), "sampling": optional(spec.Sampling)}
		if spec.Agent != "" {
			row["agent"] = spec.Agent
		}
	}
	return s.sole(ctx, bridge, "sflow", "sFlow", row)
}

func optional(n uint32) Set {
	if n == 0 {
		return Set{}
	}
	return Set{int64(n)}
}

// sole sets the one row that a bridge's column refers to; nil removes it.
func (s *VSwitch) sole(ctx context.Context, bridge, column, table string, row Row) error {
	want := func(View, bridgeRow) (Row, error) { return row, nil }
	if row == nil {
		want = nil
	}
	return wrap(s.attached(ctx, bridge, column, table, func(Row) bool { return true }, want), "bridge", bridge)
}

// attached ensures one row of a table that a bridge's column refers to: the
// one that mine knows becomes what want says, or is made; a nil want removes
// it. The rows are read from the server, for the Cache does not follow them.
func (s *VSwitch) attached(ctx context.Context, bridge, column, table string, mine func(Row) bool, want func(View, bridgeRow) (Row, error)) error {
	results, err := s.db.Transact(ctx, VSwitchDB, Select("Bridge", []string{column}, Where("name", bridge)), Select(table, nil))
	if err != nil {
		return err
	}
	if len(results[0].Rows) == 0 {
		return fmt.Errorf("bridge %q: %w", bridge, ErrNotFound)
	}
	var old Row
	for _, r := range results[1].Rows {
		if slices.Contains(asSet(results[0].Rows[0][column]), r["_uuid"]) && mine(r) {
			old = r
		}
	}
	return s.change(ctx, func(v View) ([]Operation, error) {
		b, err := findBridge(v, bridge)
		if err != nil {
			return nil, fmt.Errorf("bridge %q: %w", bridge, err)
		}
		switch {
		case want == nil && old == nil:
			return nil, nil
		case want == nil:
			return []Operation{Mutate("Bridge", []Mutation{{column, "delete", old["_uuid"]}}, Where("_uuid", b.UUID))}, nil
		}
		row, err := want(v, b)
		if err != nil {
			return nil, err
		}
		if old == nil {
			return []Operation{Insert(table, "row", row),
				Mutate("Bridge", []Mutation{{column, "insert", NamedUUID("row")}}, Where("_uuid", b.UUID))}, nil
		}
		dropEqual(row, old)
		return edits(table, old["_uuid"], row, nil), nil
	})
}
