package ovsdb

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// VSwitchDB is the name of the database that configures Open vSwitch (ovs-vswitchd.conf.db(5)).
const VSwitchDB = "Open_vSwitch"

// VSwitch ensures bridges and ports of one Open vSwitch. Make one with
// NewVSwitch; it lives as long as its Client or Session. It may be used by several
// goroutines; what changes the database is done one at a time.
//
// Each change bumps next_cfg and returns once ovs-vswitchd has set cur_cfg to
// it, so that what was asked for is there and not only written down. An Ensure
// of what is there already sends nothing.
type VSwitch struct {
	db    Database
	cache *Cache
	turn  chan struct{} // of capacity 1: holds a token while a change is under way
}

// BridgeSpec is a bridge as it should be.
type BridgeSpec struct {
	Name         string
	DatapathType string            // "system" or "netdev"; "" leaves it alone
	FailMode     string            // "secure" or "standalone"; "" leaves it alone
	Protocols    []string          // such as "OpenFlow15"; nil leaves them alone
	ExternalIDs  map[string]string // to be set; other keys are left alone
	OtherConfig  map[string]string // to be set; other keys are left alone
}

type rootRow struct {
	UUID    UUID   `ovsdb:"_uuid"`
	Bridges []UUID `ovsdb:"bridges"`
	NextCfg int64  `ovsdb:"next_cfg"`
	CurCfg  int64  `ovsdb:"cur_cfg"`
}

type bridgeRow struct {
	UUID         UUID              `ovsdb:"_uuid"`
	Name         string            `ovsdb:"name"`
	Ports        []UUID            `ovsdb:"ports"`
	DatapathType string            `ovsdb:"datapath_type"`
	FailMode     *string           `ovsdb:"fail_mode,enum=secure|standalone"`
	Protocols    []string          `ovsdb:"protocols"`
	ExternalIDs  map[string]string `ovsdb:"external_ids"`
	OtherConfig  map[string]string `ovsdb:"other_config"`
}

// NewVSwitch starts following the Open_vSwitch database. The context bounds the start.
func NewVSwitch(ctx context.Context, db Database) (*VSwitch, error) {
	byName := []Index{{Column: "name"}}
	cache, err := db.Monitor(ctx, VSwitchDB,
		TableMonitor{Table: "Open_vSwitch", Columns: []string{"bridges", "next_cfg", "cur_cfg"}},
		TableMonitor{Table: "Bridge", Columns: []string{"name", "ports", "datapath_type", "fail_mode", "protocols", "external_ids", "other_config"}, Indexes: byName},
		TableMonitor{Table: "Port", Columns: []string{"name", "interfaces", "tag", "external_ids"}, Indexes: byName},
		TableMonitor{Table: "Interface", Columns: []string{"name", "type", "options", "external_ids", "ofport", "ofport_request",
			"mac_in_use", "mtu", "mtu_request", "admin_state", "link_state", "error"}, Indexes: byName},
	)
	if err != nil {
		return nil, err
	}
	return &VSwitch{db: db, cache: cache, turn: make(chan struct{}, 1)}, nil
}

// EnsureBridge makes the bridge, or brings the one there is into shape.
func (s *VSwitch) EnsureBridge(ctx context.Context, spec BridgeSpec) error {
	if spec.Name == "" {
		return errors.New("ovsdb: bridge: no name")
	}
	err := s.change(ctx, func(v View) ([]Operation, error) {
		row := Row{}
		if spec.DatapathType != "" {
			row["datapath_type"] = spec.DatapathType
		}
		if spec.FailMode != "" {
			row["fail_mode"] = spec.FailMode
		}
		if spec.Protocols != nil {
			row["protocols"] = spec.Protocols
		}
		old, ok := v.Find("Bridge", "name", spec.Name)
		if !ok {
			row["name"] = spec.Name
			row["external_ids"], row["other_config"] = spec.ExternalIDs, spec.OtherConfig
			row["ports"] = NamedUUID("port")
			return []Operation{
				Insert("Interface", "iface", Row{"name": spec.Name, "type": "internal"}),
				Insert("Port", "port", Row{"name": spec.Name, "interfaces": NamedUUID("iface")}),
				Insert("Bridge", "bridge", row),
				Mutate("Open_vSwitch", []Mutation{{"bridges", "insert", NamedUUID("bridge")}}),
			}, nil
		}
		for name, want := range row {
			if Equal(old[name], want) {
				delete(row, name)
			}
		}
		mutations := slices.Concat(
			mapMutations("external_ids", old["external_ids"], spec.ExternalIDs, nil),
			mapMutations("other_config", old["other_config"], spec.OtherConfig, nil))
		return edits("Bridge", old["_uuid"], row, mutations), nil
	})
	return wrap(err, "bridge", spec.Name)
}

// DeleteBridge removes the bridge with its ports. One that is not there is no error.
func (s *VSwitch) DeleteBridge(ctx context.Context, name string) error {
	err := s.change(ctx, func(v View) ([]Operation, error) {
		old, ok := v.Find("Bridge", "name", name)
		if !ok {
			return nil, nil
		}
		return []Operation{Mutate("Open_vSwitch", []Mutation{{"bridges", "delete", old["_uuid"]}})}, nil
	})
	return wrap(err, "bridge", name)
}

// Bridges returns the names of all bridges, in order.
func (s *VSwitch) Bridges(ctx context.Context) ([]string, error) {
	rows, err := s.cache.Rows("Bridge")
	if err != nil {
		return nil, err
	}
	names := make([]string, len(rows))
	for i, row := range rows {
		names[i], _ = row["name"].(string)
	}
	slices.Sort(names)
	return names, ctx.Err()
}

// BridgeExternalIDs returns the bridge's external_ids, which the caller owns.
func (s *VSwitch) BridgeExternalIDs(ctx context.Context, name string) (map[string]string, error) {
	var ids map[string]string
	err := s.cache.View(func(v View) error {
		b, err := findBridge(v, name)
		ids = maps.Clone(b.ExternalIDs)
		return err
	})
	if err == nil {
		err = ctx.Err()
	}
	return ids, wrap(err, "bridge", name)
}

// SetBridgeExternalIDs sets some of the bridge's external_ids and deletes
// others, in one transaction; the rest is left alone.
func (s *VSwitch) SetBridgeExternalIDs(ctx context.Context, name string, set map[string]string, del []string) error {
	err := s.change(ctx, func(v View) ([]Operation, error) {
		old, ok := v.Find("Bridge", "name", name)
		if !ok {
			return nil, ErrNotFound
		}
		return edits("Bridge", old["_uuid"], nil, mapMutations("external_ids", old["external_ids"], set, del)), nil
	})
	return wrap(err, "bridge", name)
}

// Watch calls fn at once, and again after any change of a bridge, port or
// interface, statistics aside, until ctx is done or the connection ends, and
// returns why. Calls are never concurrent; changes that come while fn runs
// give one more call.
func (s *VSwitch) Watch(ctx context.Context, fn func()) error {
	var seen [3]uint64
	for first := true; ; first = false {
		err := s.cache.WaitFor(ctx, func(v View) (bool, error) {
			now := [3]uint64{v.Version("Bridge"), v.Version("Port"), v.Version("Interface")}
			fresh := first || now != seen
			seen = now
			return fresh, nil
		})
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return fmt.Errorf("ovsdb: %w", context.Cause(ctx))
		}
		fn()
	}
}

// Sync returns once ovs-vswitchd has taken all configuration written before the call.
func (s *VSwitch) Sync(ctx context.Context) error {
	return s.change(ctx, func(View) ([]Operation, error) { return []Operation{}, nil })
}

// change asks plan what to do about the state there is, does it in one
// transaction and waits for ovs-vswitchd. A nil plan is nothing to do. When
// somebody else's change comes between, plan is asked again.
func (s *VSwitch) change(ctx context.Context, plan func(View) ([]Operation, error)) error {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return fmt.Errorf("ovsdb: wait for another change: %w", context.Cause(ctx))
	}
	for try := 0; ; try++ {
		var ops []Operation
		var root rootRow
		var before [3]uint64
		var hasRoot bool
		err := s.cache.View(func(v View) (err error) {
			before = versions(v)
			root, hasRoot, err = findRoot(v)
			if err == nil {
				ops, err = plan(v)
			}
			return err
		})
		if err != nil || ops == nil {
			return err
		}
		if !hasRoot {
			ops = append([]Operation{
				Wait("Open_vSwitch", 0, []string{"next_cfg"}, true, nil),
				Insert("Open_vSwitch", "", Row{}),
			}, ops...)
		}
		ops = append(ops,
			Mutate("Open_vSwitch", []Mutation{{"next_cfg", "+=", 1}}),
			Select("Open_vSwitch", []string{"next_cfg"}))
		results, err := s.db.Transact(ctx, VSwitchDB, ops...)
		if hasCode(err, CodeConstraint, CodeTimedOut, "referential integrity violation") && try < 3 {
			// The plan may be of a state that is past. If the cache does not
			// move on, the fault is the plan's own.
			soon, cancel := context.WithTimeout(ctx, time.Second)
			moved := s.cache.WaitFor(soon, func(v View) (bool, error) { return versions(v) != before, nil })
			cancel()
			if moved == nil {
				continue
			}
		}
		if err != nil {
			return err
		}
		return s.taken(ctx, results[len(results)-1], root)
	}
}

func versions(v View) [3]uint64 {
	return [3]uint64{v.Version("Open_vSwitch"), v.Version("Bridge"), v.Version("Port")}
}

// taken waits until ovs-vswitchd reports the next_cfg that the select gave.
func (s *VSwitch) taken(ctx context.Context, selected Result, root rootRow) error {
	var want struct {
		NextCfg int64 `ovsdb:"next_cfg"`
	}
	if len(selected.Rows) != 1 {
		return malformed("table Open_vSwitch has %d rows", len(selected.Rows))
	}
	if err := Unmarshal(selected.Rows[0], &want); err != nil {
		return err
	}
	at := root.CurCfg
	err := s.cache.WaitFor(ctx, func(v View) (bool, error) {
		root, ok, err := findRoot(v)
		at = root.CurCfg
		return ok && at >= want.NextCfg, err
	})
	if err != nil {
		return &subjectError{fmt.Sprintf("ovs-vswitchd has taken configuration %d, wait for %d", at, want.NextCfg), err}
	}
	return nil
}

func findRoot(v View) (rootRow, bool, error) {
	var root rootRow
	rows := v.Rows("Open_vSwitch")
	if len(rows) == 0 {
		return root, false, nil
	}
	return root, true, Unmarshal(rows[0], &root)
}

func findBridge(v View, name string) (bridgeRow, error) {
	var b bridgeRow
	row, ok := v.Find("Bridge", "name", name)
	if !ok {
		return b, ErrNotFound
	}
	return b, Unmarshal(row, &b)
}

// edits is the operations that write the columns and apply the mutations, nil for none.
func edits(table string, id any, row Row, mutations []Mutation) []Operation {
	var ops []Operation
	if len(row) > 0 {
		ops = append(ops, Update(table, row, Where("_uuid", id)))
	}
	if len(mutations) > 0 {
		ops = append(ops, Mutate(table, mutations, Where("_uuid", id)))
	}
	return ops
}

// mapMutations is what turns a map column so that it has set and lacks del.
func mapMutations(column string, old any, set map[string]string, del []string) []Mutation {
	has, _ := old.(Map)
	drop, add := Set{}, Map{}
	for _, k := range del {
		if _, ok := has[k]; ok && !slices.Contains(drop, any(k)) {
			drop = append(drop, k)
		}
	}
	for k, v := range set {
		switch was, ok := has[k]; {
		case ok && was == any(v) && !slices.Contains(drop, any(k)):
		case ok && !slices.Contains(drop, any(k)):
			drop = append(drop, k) // insert does not replace
			fallthrough
		default:
			add[k] = v
		}
	}
	var out []Mutation
	if len(drop) > 0 {
		slices.SortFunc(drop, compareAtoms)
		out = append(out, Mutation{column, "delete", drop})
	}
	if len(add) > 0 {
		out = append(out, Mutation{column, "insert", add})
	}
	return out
}
