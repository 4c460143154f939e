package ovsdb

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// PortsWith returns the ports of all bridges whose interface has the given
// external_ids, and maybe others, by name.
func (s *VSwitch) PortsWith(ctx context.Context, ids map[string]string) ([]PortInfo, error) {
	var out []PortInfo
	err := s.cache.View(func(v View) error {
		for _, row := range v.Rows("Port") {
			var p portRow
			if err := Unmarshal(row, &p); err != nil {
				return err
			}
			for _, id := range p.Interfaces {
				info, err := portInfo(v, p, id)
				if err != nil {
					return err
				}
				if has(info.ExternalIDs, ids) {
					out = append(out, info)
				}
			}
		}
		return nil
	})
	if err == nil {
		err = ctx.Err()
	}
	slices.SortFunc(out, func(a, b PortInfo) int { return strings.Compare(a.Name, b.Name) })
	return out, err
}

// has reports whether all has every pair of some.
func has(all, some map[string]string) bool {
	for k, want := range some {
		if got, ok := all[k]; !ok || got != want {
			return false
		}
	}
	return true
}

// EnsurePorts is EnsurePort of many in one transaction: all are written, or
// none. It returns their OpenFlow numbers by name. Ports that could not be
// opened are an ErrPortFailed that names each, beside the numbers of the rest.
func (s *VSwitch) EnsurePorts(ctx context.Context, specs []PortSpec) (map[string]uint32, error) {
	names := map[string]bool{}
	var errs []error
	for _, spec := range specs {
		err := spec.validate()
		if err == nil && names[spec.Name] {
			err = errors.New("asked for twice")
		}
		names[spec.Name] = true
		errs = append(errs, wrap(err, "port", spec.Name))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	err := s.change(ctx, func(v View) ([]Operation, error) { return planPorts(v, specs) })
	if err != nil {
		return nil, err
	}
	return s.numbers(ctx, specs)
}

// planPorts plans each port, with names of its own for the new rows and one
// mutation for each bridge: one for each port would cost the server a copy of
// the bridge's ports every time.
func planPorts(v View, specs []PortSpec) ([]Operation, error) {
	var ops []Operation
	add := map[string]Set{}
	for i, spec := range specs {
		mine, bridge, err := spec.planAs(v, NamedUUID(fmt.Sprintf("iface%d", i)), NamedUUID(fmt.Sprintf("port%d", i)))
		if err != nil && len(specs) > 1 {
			err = wrap(err, "port", spec.Name)
		}
		if err != nil {
			return nil, err
		}
		if bridge != "" {
			add[string(bridge)] = append(add[string(bridge)], NamedUUID(fmt.Sprintf("port%d", i)))
		}
		if mine != nil && ops == nil {
			ops = []Operation{}
		}
		ops = append(ops, mine...)
	}
	for _, bridge := range slices.Sorted(maps.Keys(add)) {
		ops = append(ops, Mutate("Bridge", []Mutation{{"ports", "insert", add[bridge]}}, Where("_uuid", UUID(bridge))))
	}
	return ops, nil
}

// numbers waits until ovs-vswitchd has numbered each port or given it up.
func (s *VSwitch) numbers(ctx context.Context, specs []PortSpec) (map[string]uint32, error) {
	numbers := make(map[string]uint32, len(specs))
	failed := map[string]error{}
	err := s.cache.WaitFor(ctx, func(v View) (bool, error) {
		for _, spec := range specs {
			if numbers[spec.Name] != 0 || failed[spec.Name] != nil {
				continue
			}
			n, err := ofport(v, spec.Name)
			switch {
			case errors.Is(err, ErrPortFailed), errors.Is(err, ErrNotFound):
				failed[spec.Name] = wrap(err, "port", spec.Name)
			case err != nil:
				return false, wrap(err, "port", spec.Name)
			case n != 0:
				numbers[spec.Name] = n
			}
		}
		return len(numbers)+len(failed) == len(specs), nil
	})
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(failed)) {
		errs = append(errs, failed[name])
	}
	return numbers, errors.Join(errs...)
}

// BFDConfig switches bidirectional forwarding detection of a tunnel on or off.
// Zero times are ovs-vswitchd's.
type BFDConfig struct {
	Enable       bool
	MinTx, MinRx time.Duration
}

// SetBFD sets the BFD of an interface; keys of other settings are left alone.
func (s *VSwitch) SetBFD(ctx context.Context, iface string, cfg BFDConfig) error {
	set := map[string]string{"enable": fmt.Sprint(cfg.Enable)}
	for key, d := range map[string]time.Duration{"min_tx": cfg.MinTx, "min_rx": cfg.MinRx} {
		if d < 0 || d%time.Millisecond != 0 {
			return wrap(fmt.Errorf("bfd %s %v: want whole milliseconds", key, d), "interface", iface)
		}
		if d > 0 {
			set[key] = fmt.Sprint(d.Milliseconds())
		}
	}
	row, err := s.interfaceColumn(ctx, iface, "bfd")
	if err != nil {
		return err
	}
	return wrap(s.change(ctx, func(View) ([]Operation, error) {
		return edits("Interface", row["_uuid"], nil, mapMutations("bfd", row["bfd"], set, nil)), nil
	}), "interface", iface)
}

// BFDStatus is what BFD says of an interface's other end.
type BFDStatus struct {
	State       string // "admin_down", "down", "init" or "up"; "" without BFD
	RemoteState string
	Diagnostic  string
	Forwarding  bool
	FlapCount   string
}

// BFD reads an interface's BFD status.
func (s *VSwitch) BFD(ctx context.Context, iface string) (BFDStatus, error) {
	row, err := s.interfaceColumn(ctx, iface, "bfd_status")
	if err != nil {
		return BFDStatus{}, err
	}
	var r struct {
		Status map[string]string `ovsdb:"bfd_status"`
	}
	if err := Unmarshal(row, &r); err != nil {
		return BFDStatus{}, wrap(err, "interface", iface)
	}
	return BFDStatus{State: r.Status["state"], RemoteState: r.Status["remote_state"], Diagnostic: r.Status["diagnostic"],
		Forwarding: r.Status["forwarding"] == "true", FlapCount: r.Status["flap_count"]}, nil
}

// interfaceColumn reads a column that the Cache does not follow.
func (s *VSwitch) interfaceColumn(ctx context.Context, iface, column string) (Row, error) {
	results, err := s.db.Transact(ctx, VSwitchDB, Select("Interface", []string{"_uuid", column}, Where("name", iface)))
	if err != nil {
		return nil, err
	}
	if len(results[0].Rows) == 0 {
		return nil, wrap(ErrNotFound, "interface", iface)
	}
	return results[0].Rows[0], nil
}
