package ipam

import (
	"context"
	"fmt"
	"iter"
	"net"
	"net/netip"
	"strconv"
)

// all yields a space's leases as values.
func all[T any](s *leases, parse func(string) (T, error)) iter.Seq2[string, T] {
	return func(yield func(string, T) bool) {
		for l := range s.Leases() {
			if v, err := parse(l.Value); err == nil && !yield(l.Owner, v) {
				return
			}
		}
	}
}

// whatever accepts any value that the owner has, and parses it.
func whatever[T any](got *T, parse func(string) (T, error)) func(string) error {
	return func(have string) (err error) {
		*got, err = parse(have)
		return err
	}
}

// coreOf returns a space's core as the kind that the caller opened. A space
// may have been opened since as one of another kind.
func coreOf[C core](c core) (C, error) {
	kind, ok := c.(C)
	if !ok {
		return kind, fmt.Errorf("%w: the space was forgotten, or opened again as one of another kind", ErrInvalid)
	}
	return kind, nil
}

// acquireSpecific leases the owner one value, which is also given as text and
// which reserve takes in a core.
func acquireSpecific[C core, T any](ctx context.Context, s *leases, owner, value string, want T, reserve func(C, T) error) (got T, err error) {
	accept := func(have string) error {
		if have != value {
			return fmt.Errorf("it has %s and asks for %s", have, value)
		}
		return nil
	}
	pick := func(c core, _ []byte) ([]byte, error) {
		kind, err := coreOf[C](c)
		if err != nil {
			return nil, err
		}
		return []byte(value), reserve(kind, want)
	}
	if err := s.acquire(ctx, owner, value, wish{accept: accept, pick: pick}); err != nil {
		return got, err
	}
	return want, nil
}

// Addresses leases the addresses of a [Pool]. Open one with [Registry.Addresses].
type Addresses struct{ *leases }

type addressCore struct{ *Pool }

func (c addressCore) reserve(v string) error {
	a, err := netip.ParseAddr(v)
	if err != nil {
		return fmt.Errorf("ipam: address %q: %w", v, ErrOutOfRange)
	}
	return c.Reserve(a)
}

func (c addressCore) canonical(v string) (string, error) {
	a, err := netip.ParseAddr(v)
	return a.String(), err
}

func (c addressCore) release(v string) {
	if a, err := netip.ParseAddr(v); err == nil {
		c.Release(a)
	}
}

// Addresses opens a space of addresses. A space may be opened again with
// another configuration, which then counts for what was opened before, too.
// Leases that the new configuration does not have are [ErrOutOfRange], naming
// them, and the old configuration stays.
func (r *Registry) Addresses(space string, cfg AddressConfig) (*Addresses, error) {
	pool, err := NewPool(cfg)
	if err != nil {
		return nil, err
	}
	s, err := r.open(space, addressCore{pool})
	if err != nil {
		return nil, err
	}
	return &Addresses{s}, nil
}

// Acquire returns the owner's address, a new one if it has none.
func (a *Addresses) Acquire(ctx context.Context, owner string) (netip.Addr, error) {
	var got netip.Addr
	var likely netip.Addr
	var guessed []byte
	guess := func(c core, to []byte) []byte {
		likely, guessed = netip.Addr{}, nil
		if pool, ok := c.(addressCore); ok {
			if next := pool.peek(); next.Is4() { // a longer text is not worth it
				likely, guessed = next, next.AppendTo(to)
			}
		}
		return guessed
	}
	err := a.acquire(ctx, owner, "", wish{accept: whatever(&got, netip.ParseAddr), guess: guess, pick: func(c core, to []byte) ([]byte, error) {
		pool, err := coreOf[addressCore](c)
		if err != nil {
			return nil, err
		}
		if got, err = pool.Allocate(); got == likely {
			return guessed, err
		}
		return got.AppendTo(to), err
	}})
	if err != nil {
		return netip.Addr{}, err
	}
	return got, nil
}

// AcquireSpecific leases an address of the owner's choice. An owner that
// already has another gets [ErrConflict].
func (a *Addresses) AcquireSpecific(ctx context.Context, owner string, want netip.Addr) (netip.Addr, error) {
	return acquireSpecific(ctx, a.leases, owner, want.String(), want, addressCore.Reserve)
}

// Lookup returns the owner's address.
func (a *Addresses) Lookup(owner string) (netip.Addr, bool) {
	l, ok := a.Lease(owner)
	ip, err := netip.ParseAddr(l.Value)
	return ip, ok && err == nil
}

// All yields owners and addresses, by owner.
func (a *Addresses) All() iter.Seq2[string, netip.Addr] { return all(a.leases, netip.ParseAddr) }

// Usage returns how many addresses are leased or in quarantine, and how many there are.
func (a *Addresses) Usage() (used, total uint64) {
	if c, err := coreOf[addressCore](a.coreNow()); err == nil {
		return c.Usage()
	}
	return 0, 0
}

// Subnets leases the subnets of a [Block]. Open one with [Registry.Subnets].
type Subnets struct{ *leases }

type subnetCore struct{ *Block }

func (c subnetCore) reserve(v string) error {
	p, err := netip.ParsePrefix(v)
	if err != nil {
		return fmt.Errorf("ipam: subnet %q: %w", v, ErrOutOfRange)
	}
	return c.Reserve(p)
}

func (c subnetCore) canonical(v string) (string, error) {
	p, err := netip.ParsePrefix(v)
	return p.String(), err
}

func (c subnetCore) release(v string) {
	if p, err := netip.ParsePrefix(v); err == nil {
		c.Release(p)
	}
}

// Subnets opens a space of subnets; see [Registry.Addresses] for opening again.
func (r *Registry) Subnets(space string, cfg SubnetConfig) (*Subnets, error) {
	block, err := NewBlock(cfg)
	if err != nil {
		return nil, err
	}
	s, err := r.open(space, subnetCore{block})
	if err != nil {
		return nil, err
	}
	return &Subnets{s}, nil
}

// Acquire returns the owner's subnet, a new one of the given length if it has
// none. One of another length is [ErrConflict].
func (s *Subnets) Acquire(ctx context.Context, owner string, bits int) (netip.Prefix, error) {
	var got netip.Prefix
	accept := func(have string) (err error) {
		if got, err = netip.ParsePrefix(have); err != nil || got.Bits() != bits {
			return fmt.Errorf("it has %s and asks for a /%d", have, bits)
		}
		return nil
	}
	err := s.acquire(ctx, owner, "", wish{accept: accept, pick: func(c core, to []byte) ([]byte, error) {
		block, err := coreOf[subnetCore](c)
		if err != nil {
			return nil, err
		}
		got, err = block.Carve(bits)
		return got.AppendTo(to), err
	}})
	if err != nil {
		return netip.Prefix{}, err
	}
	return got, nil
}

// AcquireSpecific leases a subnet of the owner's choice. An owner that already
// has another gets [ErrConflict]; one that wants what overlaps another's subnet
// gets a [*HeldError] with that.
func (s *Subnets) AcquireSpecific(ctx context.Context, owner string, want netip.Prefix) (netip.Prefix, error) {
	return acquireSpecific(ctx, s.leases, owner, want.String(), want, subnetCore.Reserve)
}

// Lookup returns the owner's subnet.
func (s *Subnets) Lookup(owner string) (netip.Prefix, bool) {
	l, ok := s.Lease(owner)
	p, err := netip.ParsePrefix(l.Value)
	return p, ok && err == nil
}

// All yields owners and subnets, by owner.
func (s *Subnets) All() iter.Seq2[string, netip.Prefix] { return all(s.leases, netip.ParsePrefix) }

// Usage returns how many subnets are leased or in quarantine.
func (s *Subnets) Usage() int {
	if c, err := coreOf[subnetCore](s.coreNow()); err == nil {
		return c.Usage()
	}
	return 0
}

// IDs leases the ids of an [IDPool]. Open one with [Registry.IDs].
type IDs struct{ *leases }

type idCore struct{ *IDPool }

func parseID(v string) (uint32, error) {
	n, err := strconv.ParseUint(v, 10, 32)
	return uint32(n), err
}

func (c idCore) reserve(v string) error {
	n, err := parseID(v)
	if err != nil {
		return fmt.Errorf("ipam: id %q: %w", v, ErrOutOfRange)
	}
	return c.Reserve(n)
}

func (c idCore) canonical(v string) (string, error) {
	n, err := parseID(v)
	return strconv.FormatUint(uint64(n), 10), err
}

func (c idCore) release(v string) {
	if n, err := parseID(v); err == nil {
		c.Release(n)
	}
}

// IDs opens a space of ids; see [Registry.Addresses] for opening again.
func (r *Registry) IDs(space string, cfg IDConfig) (*IDs, error) {
	pool, err := NewIDPool(cfg)
	if err != nil {
		return nil, err
	}
	s, err := r.open(space, idCore{pool})
	if err != nil {
		return nil, err
	}
	return &IDs{s}, nil
}

// Acquire returns the owner's id, a new one if it has none.
func (i *IDs) Acquire(ctx context.Context, owner string) (uint32, error) {
	var got uint32
	err := i.acquire(ctx, owner, "", wish{accept: whatever(&got, parseID), pick: func(c core, to []byte) ([]byte, error) {
		pool, err := coreOf[idCore](c)
		if err != nil {
			return nil, err
		}
		got, err = pool.Allocate()
		return strconv.AppendUint(to, uint64(got), 10), err
	}})
	if err != nil {
		return 0, err
	}
	return got, nil
}

// AcquireSpecific leases an id of the owner's choice. An owner that already has
// another gets [ErrConflict].
func (i *IDs) AcquireSpecific(ctx context.Context, owner string, want uint32) (uint32, error) {
	return acquireSpecific(ctx, i.leases, owner, strconv.FormatUint(uint64(want), 10), want, idCore.Reserve)
}

// Lookup returns the owner's id.
func (i *IDs) Lookup(owner string) (uint32, bool) {
	l, ok := i.Lease(owner)
	n, err := parseID(l.Value)
	return n, ok && err == nil
}

// All yields owners and ids, by owner.
func (i *IDs) All() iter.Seq2[string, uint32] { return all(i.leases, parseID) }

// Usage returns how many ids are leased or in quarantine, and how many there are.
func (i *IDs) Usage() (used, total uint64) {
	if c, err := coreOf[idCore](i.coreNow()); err == nil {
		return c.Usage()
	}
	return 0, 0
}

// MACs leases MAC addresses of one prefix. Open one with [Registry.MACs].
type MACs struct{ *leases }

type macCore struct{ *MACPool }

func (c macCore) reserve(v string) error {
	m, err := ParseMAC(v)
	if err != nil {
		return fmt.Errorf("ipam: mac %q: %w", v, ErrOutOfRange)
	}
	return c.Reserve(m)
}

func (c macCore) canonical(v string) (string, error) {
	a, err := net.ParseMAC(v)
	return a.String(), err
}

func (c macCore) release(v string) {
	if m, err := ParseMAC(v); err == nil {
		c.Release(m)
	}
}

// MACs opens a space of MAC addresses; see [Registry.Addresses] for opening again.
func (r *Registry) MACs(space string, cfg MACConfig) (*MACs, error) {
	pool, err := NewMACPool(cfg)
	if err != nil {
		return nil, err
	}
	s, err := r.open(space, macCore{pool})
	if err != nil {
		return nil, err
	}
	return &MACs{s}, nil
}

// Acquire returns the owner's address, a new one if it has none.
func (m *MACs) Acquire(ctx context.Context, owner string) (net.HardwareAddr, error) {
	var got net.HardwareAddr
	err := m.acquire(ctx, owner, "", wish{accept: whatever(&got, net.ParseMAC), pick: func(c core, to []byte) ([]byte, error) {
		pool, err := coreOf[macCore](c)
		if err != nil {
			return nil, err
		}
		mac, err := pool.Allocate()
		got = mac[:]
		return append(to, got.String()...), err
	}})
	if err != nil {
		return nil, err
	}
	return got, nil
}

// AcquireSpecific leases an address of the owner's choice. An owner that already
// has another gets [ErrConflict].
func (m *MACs) AcquireSpecific(ctx context.Context, owner string, want net.HardwareAddr) (net.HardwareAddr, error) {
	mac, err := ParseMAC(want.String())
	if err != nil {
		return nil, fmt.Errorf("ipam: acquire in %q for %q: %w", m.name, owner, err)
	}
	if _, err := acquireSpecific(ctx, m.leases, owner, mac.String(), mac, macCore.Reserve); err != nil {
		return nil, err
	}
	return mac[:], nil
}

// Lookup returns the owner's address.
func (m *MACs) Lookup(owner string) (net.HardwareAddr, bool) {
	l, ok := m.Lease(owner)
	a, err := net.ParseMAC(l.Value)
	return a, ok && err == nil
}

// All yields owners and addresses, by owner.
func (m *MACs) All() iter.Seq2[string, net.HardwareAddr] { return all(m.leases, net.ParseMAC) }

// Usage returns how many addresses are leased or in quarantine, and how many there are.
func (m *MACs) Usage() (used, total uint64) {
	if c, err := coreOf[macCore](m.coreNow()); err == nil {
		return c.Usage()
	}
	return 0, 0
}
