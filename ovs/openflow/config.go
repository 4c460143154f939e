package openflow

import (
	"context"
	"fmt"
)

// Messages about the connection and the switch as a whole (sections 7.3.1 to
// 7.3.3, 7.3.8 and 7.3.10).
const (
	typeGetConfigRequest = 7
	typeGetConfigReply   = 8
	typeSetConfig        = 9
	typeRoleRequest      = 24
	typeRoleReply        = 25
	typeGetAsyncRequest  = 26
	typeGetAsyncReply    = 27
	typeSetAsync         = 28
)

// NoBuffer asks for whole packets.
const NoBuffer = 0xffff

// A SwitchConfig is what a connection can set of a switch (section 7.3.2).
// Packets whose TTL has run out are asked for by [Conn.SetAsync], as the
// standard has it since 1.3.
type SwitchConfig struct {
	Fragments FragmentHandling
	// MissSendLen is how many bytes of a packet that no flow matched are sent.
	// 0 also stops a management connection from getting anything of its own
	// accord from the switch.
	MissSendLen uint16
}

// FragmentHandling says what happens to IP fragments.
type FragmentHandling uint16

// Ways to handle fragments. Open vSwitch takes FragmentMatch: the first may be
// matched by its ports.
const (
	FragmentNormal FragmentHandling = iota
	FragmentDrop
	FragmentReassemble
	FragmentMatch
)

// Config asks for the configuration.
func (c *Conn) Config(ctx context.Context) (SwitchConfig, error) {
	var cfg SwitchConfig
	err := c.ask(ctx, "get-config", reply(typeGetConfigReply, 4), func(xid uint32) []byte {
		return end(begin(nil, typeGetConfigRequest, xid), 0)
	}, func(b []byte) error {
		cfg = SwitchConfig{FragmentHandling(be.Uint16(b)), be.Uint16(b[2:])}
		return nil
	})
	return cfg, err
}

// SetConfig sets the configuration.
func (c *Conn) SetConfig(ctx context.Context, cfg SwitchConfig) error {
	return c.confirmed(ctx, "set-config", func(xid uint32) ([]byte, error) {
		b := be.AppendUint16(begin(nil, typeSetConfig, xid), uint16(cfg.Fragments))
		return end(be.AppendUint16(b, cfg.MissSendLen), 0), nil
	})
}

// A Role is what a connection may do to a switch (section 6.3.7).
type Role uint32

// Roles. RoleKeep asks for the present one.
const (
	RoleKeep Role = iota
	RoleEqual
	RolePrimary
	RoleSecondary
)

// SetRole asks for a role, and returns what the connection now is. The
// generation fences primaries: the switch refuses RolePrimary and RoleSecondary
// with one that is older than it has seen.
func (c *Conn) SetRole(ctx context.Context, role Role, generation uint64) (now Role, seen uint64, err error) {
	err = c.ask(ctx, "role-request", reply(typeRoleReply, 16), func(xid uint32) []byte {
		b := zeros(be.AppendUint32(begin(nil, typeRoleRequest, xid), uint32(role)), 4)
		return end(be.AppendUint64(b, generation), 0)
	}, func(b []byte) error {
		now, seen = Role(be.Uint32(b)), be.Uint64(b[8:])
		return nil
	})
	return now, seen, err
}

// A RoleStatus says that the switch changed the connection's role
// (section 7.4.4).
type RoleStatus struct {
	Role       Role
	Reason     uint8 // 0: another became primary, 1: by configuration
	Generation uint64
}

func (RoleStatus) event() {}

func readRoleStatus(b []byte) (Event, error) {
	r := reader{b: b}
	e := RoleStatus{Role: Role(r.u32()), Reason: r.u8()}
	r.skip(3)
	if e.Generation = r.u64(); r.bad {
		return nil, malformed("role status of %d bytes", len(b))
	}
	return e, nil
}

// Async says which messages the switch sends on its own (section 7.3.10):
// those whose reason has its bit, 1<<reason, set.
type Async struct {
	PacketIn    uint32 // 1<<PacketNoMatch and so on
	PortStatus  uint32
	FlowRemoved uint32
	RoleStatus  uint32
	TableStatus uint32 // 1<<3 and 1<<4: vacancy below and above its limit
	Forwarded   uint32 // GroupChanged: 1<<0, MeterChanged: 1<<1
}

// masks are in the order of the properties' types.
func (a *Async) masks() []*uint32 {
	return []*uint32{&a.PacketIn, &a.PortStatus, &a.FlowRemoved, &a.RoleStatus, &a.TableStatus, &a.Forwarded}
}

// SetAsync sets what the switch sends on its own, while the connection is
// secondary and while it is not.
func (c *Conn) SetAsync(ctx context.Context, primary, secondary Async) error {
	return c.confirmed(ctx, "set-async", func(xid uint32) ([]byte, error) {
		b := begin(nil, typeSetAsync, xid)
		if c.version < OpenFlow14 {
			return appendAsync13(b, primary, secondary)
		}
		for i, m := range secondary.masks() {
			b = be.AppendUint32(append(b, 0, byte(2*i), 0, 8), *m)
			b = be.AppendUint32(append(b, 0, byte(2*i+1), 0, 8), *primary.masks()[i])
		}
		return end(b, 0), nil
	})
}

// Async asks for what the switch sends on its own.
func (c *Conn) Async(ctx context.Context) (primary, secondary Async, err error) {
	err = c.ask(ctx, "get-async", reply(typeGetAsyncReply, 0), func(xid uint32) []byte {
		return end(begin(nil, typeGetAsyncRequest, xid), 0)
	}, func(b []byte) error {
		read := readAsync
		if c.version < OpenFlow14 {
			read = readAsync13
		}
		primary, secondary, err = read(b)
		return err
	})
	return primary, secondary, err
}

func readAsync(b []byte) (primary, secondary Async, err error) {
	r := reader{b: b}
	for len(r.b) > 0 {
		typ, v, err := r.property()
		if err != nil {
			return primary, secondary, fmt.Errorf("async: %w", err)
		}
		to := &secondary
		if typ%2 == 1 {
			to = &primary
		}
		if masks := to.masks(); int(typ/2) < len(masks) {
			*masks[typ/2] = v.u32()
		}
		if v.bad {
			return primary, secondary, malformed("async: property %d is cut short", typ)
		}
	}
	return primary, secondary, nil
}
