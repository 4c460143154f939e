package ovsdb

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// PortSpec is a port, with its one interface, as it should be.
type PortSpec struct {
	Bridge        string
	Name          string            // of the port and the interface; the device's name for type ""
	Type          string            // "" (a device of the system), "internal", "geneve", "patch", …
	Options       map[string]string // all of them: others are removed
	ExternalIDs   map[string]string // of the interface, to be set; other keys are left alone
	OFPortRequest uint32            // 1..65279; 0 leaves the request alone
	MTURequest    int               // bytes; 0 leaves the request alone
	Tag           uint16            // VLAN of an access port, 1..4094; 0 is none
}

// PortInfo is a port as it is.
type PortInfo struct {
	Name        string
	Type        string
	OFPort      uint32 // 0 while it has none; 65534 is the bridge's own port
	Tag         uint16 // 0 is none
	Options     map[string]string
	ExternalIDs map[string]string // of the interface
	MAC         string            // in use; "" when not known
	MTU         int               // in use; 0 when not known
	LinkUp      bool
	Error       string // why ovs-vswitchd could not open it; "" if it could
}

type portRow struct {
	UUID       UUID   `ovsdb:"_uuid"`
	Name       string `ovsdb:"name"`
	Interfaces []UUID `ovsdb:"interfaces"`
	Tag        *int64 `ovsdb:"tag"`
}

type interfaceRow struct {
	UUID          UUID              `ovsdb:"_uuid"`
	Name          string            `ovsdb:"name"`
	Type          string            `ovsdb:"type"`
	Options       map[string]string `ovsdb:"options"`
	ExternalIDs   map[string]string `ovsdb:"external_ids"`
	OFPort        *int64            `ovsdb:"ofport"`
	OFPortRequest *int64            `ovsdb:"ofport_request"`
	MAC           *string           `ovsdb:"mac_in_use"`
	MTU           *int64            `ovsdb:"mtu"`
	MTURequest    *int64            `ovsdb:"mtu_request"`
	LinkState     *string           `ovsdb:"link_state,enum=up|down"`
	Error         *string           `ovsdb:"error"`
}

// noPort is the ofport of an interface that could not be opened.
const noPort = -1

// EnsurePort makes the port, or brings the one there is into shape, and
// returns the OpenFlow number that ovs-vswitchd gave it. An interface that
// cannot be opened is ErrPortFailed, with the reason; the port then stays in
// the database. A port of that name on another bridge is ErrInUse; a bridge
// that is not there is ErrNotFound.
func (s *VSwitch) EnsurePort(ctx context.Context, spec PortSpec) (uint32, error) {
	if err := spec.validate(); err != nil {
		return 0, wrap(err, "port", spec.Name)
	}
	err := s.change(ctx, spec.plan)
	if err != nil {
		return 0, wrap(err, "port", spec.Name)
	}
	var number uint32
	err = s.cache.WaitFor(ctx, func(v View) (bool, error) {
		n, err := ofport(v, spec.Name)
		number = n
		return n != 0, err
	})
	return number, wrap(err, "port", spec.Name)
}

// ofport returns the OpenFlow number of an interface, 0 while it has none.
func ofport(v View, name string) (uint32, error) {
	row, ok := v.Find("Interface", "name", name)
	if !ok {
		return 0, fmt.Errorf("deleted meanwhile: %w", ErrNotFound)
	}
	var i interfaceRow
	if err := Unmarshal(row, &i); err != nil {
		return 0, err
	}
	switch {
	case i.OFPort != nil && *i.OFPort > 0:
		return uint32(*i.OFPort), nil
	case i.OFPort != nil && *i.OFPort == noPort || i.Error != nil:
		reason := "no reason given"
		if i.Error != nil {
			reason = *i.Error
		}
		return 0, fmt.Errorf("%w: %s", ErrPortFailed, reason)
	}
	return 0, nil
}

func (p PortSpec) validate() error {
	var errs []error
	if p.Bridge == "" {
		errs = append(errs, errors.New("no bridge"))
	}
	if p.Name == "" {
		errs = append(errs, errors.New("no name"))
	}
	if p.OFPortRequest > 65279 {
		errs = append(errs, fmt.Errorf("ofport_request %d is not in 1..65279", p.OFPortRequest))
	}
	if p.Tag > 4094 {
		errs = append(errs, fmt.Errorf("tag %d is not in 1..4094", p.Tag))
	}
	if p.MTURequest < 0 {
		errs = append(errs, fmt.Errorf("mtu_request %d is negative", p.MTURequest))
	}
	return errors.Join(errs...)
}

// plan is what brings the port about: nil when it is there and works.
func (p PortSpec) plan(v View) ([]Operation, error) {
	return planPorts(v, []PortSpec{p})
}

// planAs is plan with names for a new port and its interface. A new port is
// yet to be put on the bridge that it returns.
func (p PortSpec) planAs(v View, ifaceName, portName NamedUUID) (ops []Operation, join UUID, err error) {
	bridge, err := findBridge(v, p.Bridge)
	if err != nil {
		return nil, "", fmt.Errorf("bridge %q: %w", p.Bridge, err)
	}
	iface := Row{"type": p.Type, "options": p.Options}
	if p.OFPortRequest != 0 {
		iface["ofport_request"] = p.OFPortRequest
	}
	if p.MTURequest != 0 {
		iface["mtu_request"] = p.MTURequest
	}
	port := Row{"tag": Set{}}
	if p.Tag != 0 {
		port["tag"] = p.Tag
	}

	oldPort, ok := v.Find("Port", "name", p.Name)
	if !ok {
		iface["name"], iface["external_ids"] = p.Name, p.ExternalIDs
		port["name"], port["interfaces"] = p.Name, ifaceName
		return []Operation{
			Insert("Interface", ifaceName, iface),
			Insert("Port", portName, port),
		}, bridge.UUID, nil
	}
	var have portRow
	if err := Unmarshal(oldPort, &have); err != nil {
		return nil, "", err
	}
	if !slices.Contains(bridge.Ports, have.UUID) {
		return nil, "", fmt.Errorf("not on bridge %q but on another: %w", p.Bridge, ErrInUse)
	}
	if len(have.Interfaces) != 1 {
		return nil, "", fmt.Errorf("a bond of %d interfaces: %w", len(have.Interfaces), ErrInUse)
	}
	old, ok := v.Row("Interface", have.Interfaces[0])
	if !ok {
		return nil, "", malformed("interface %s is not there", have.Interfaces[0])
	}
	dropEqual(port, oldPort)
	dropEqual(iface, old)
	ops = append(edits("Port", have.UUID, port, nil),
		edits("Interface", old["_uuid"], iface, mapMutations("external_ids", old["external_ids"], p.ExternalIDs, nil))...)
	if ops == nil {
		var i interfaceRow
		if err := Unmarshal(old, &i); err != nil {
			return nil, "", err
		}
		if i.OFPort == nil || *i.OFPort == noPort {
			return []Operation{}, "", nil // let ovs-vswitchd try again
		}
	}
	return ops, "", nil
}

// dropEqual removes from want the columns that old has already.
func dropEqual(want, old Row) {
	for name, v := range want {
		if Equal(v, old[name]) {
			delete(want, name)
		}
	}
}

// DeletePort removes a port from the bridge. One that is not there, and a
// bridge that is not there, are no errors.
func (s *VSwitch) DeletePort(ctx context.Context, bridge, name string) error {
	err := s.change(ctx, func(v View) ([]Operation, error) {
		b, err := findBridge(v, bridge)
		if errors.Is(err, ErrNotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		row, ok := v.Find("Port", "name", name)
		if !ok {
			return nil, nil
		}
		id, _ := row["_uuid"].(UUID)
		if !slices.Contains(b.Ports, id) {
			return nil, nil
		}
		return []Operation{Mutate("Bridge", []Mutation{{"ports", "delete", id}}, Where("_uuid", b.UUID))}, nil
	})
	return wrap(err, "port", name)
}

// Ports returns the bridge's ports by name, its own included. A bond appears
// as one entry for each of its interfaces.
func (s *VSwitch) Ports(ctx context.Context, bridge string) ([]PortInfo, error) {
	var out []PortInfo
	err := s.cache.View(func(v View) error {
		b, err := findBridge(v, bridge)
		if err != nil {
			return err
		}
		for _, id := range b.Ports {
			row, ok := v.Row("Port", id)
			if !ok {
				return malformed("port %s is not there", id)
			}
			var p portRow
			if err := Unmarshal(row, &p); err != nil {
				return err
			}
			for _, id := range p.Interfaces {
				info, err := portInfo(v, p, id)
				if err != nil {
					return err
				}
				out = append(out, info)
			}
		}
		return nil
	})
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, wrap(err, "bridge", bridge)
	}
	slices.SortFunc(out, func(a, b PortInfo) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

func portInfo(v View, p portRow, id UUID) (PortInfo, error) {
	row, ok := v.Row("Interface", id)
	if !ok {
		return PortInfo{}, malformed("interface %s is not there", id)
	}
	var i interfaceRow
	if err := Unmarshal(row, &i); err != nil {
		return PortInfo{}, err
	}
	info := PortInfo{Name: i.Name, Type: i.Type, Options: i.Options, ExternalIDs: i.ExternalIDs,
		LinkUp: i.LinkState != nil && *i.LinkState == "up"}
	if p.Tag != nil {
		info.Tag = uint16(*p.Tag)
	}
	if i.OFPort != nil && *i.OFPort > 0 {
		info.OFPort = uint32(*i.OFPort)
	}
	if i.MAC != nil {
		info.MAC = *i.MAC
	}
	if i.MTU != nil {
		info.MTU = int(*i.MTU)
	}
	if i.Error != nil {
		info.Error = *i.Error
	}
	return info, nil
}

// Statistics returns an interface's counters by name ("rx_packets",
// "tx_bytes", …), as ovs-vswitchd wrote them last: every 5 seconds by default.
func (s *VSwitch) Statistics(ctx context.Context, iface string) (map[string]int64, error) {
	results, err := s.db.Transact(ctx, VSwitchDB,
		Select("Interface", []string{"statistics"}, Where("name", iface)))
	if err != nil {
		return nil, err
	}
	if len(results[0].Rows) == 0 {
		return nil, wrap(ErrNotFound, "interface", iface)
	}
	var row struct {
		Statistics map[string]int64 `ovsdb:"statistics"`
	}
	if err := Unmarshal(results[0].Rows[0], &row); err != nil {
		return nil, wrap(err, "interface", iface)
	}
	return row.Statistics, nil
}
