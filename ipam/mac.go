package ipam

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
)

// MACConfig says which MAC addresses are given.
type MACConfig struct {
	// Prefix is the first three bytes of each address, unicast. One of our own
	// making is locally administered, bit 1 of the first byte (IEEE 802,
	// section 8.4).
	Prefix net.HardwareAddr
	// Watermarks say when the pool is nearly full; zero is never.
	Watermarks Watermarks
}

// The numbers behind a prefix that are given.
const (
	lowestMAC  = 1 << 8
	highestMAC = 1<<24 - 1
)

// A MACPool gives MAC addresses, the one after the last before it starts again
// from the lowest. The lowest 256 behind the prefix are left to routers and the
// like. Make one with [NewMACPool]. It may be used concurrently. What it
// refuses is a [*RefusedError].
type MACPool struct {
	prefix [3]byte
	ids    *IDPool
}

// NewMACPool returns a pool with all addresses free, or [ErrInvalid] naming every fault.
func NewMACPool(cfg MACConfig) (*MACPool, error) {
	var fault error
	if len(cfg.Prefix) != 3 || cfg.Prefix[0]&1 != 0 {
		fault = fmt.Errorf("ipam: mac prefix %q: %w: want three bytes, unicast", cfg.Prefix.String(), ErrInvalid)
	}
	ids, err := NewIDPool(IDConfig{Min: lowestMAC, Max: highestMAC, Watermarks: cfg.Watermarks})
	if err := errors.Join(fault, err); err != nil {
		return nil, err
	}
	return &MACPool{[3]byte(cfg.Prefix), ids}, nil
}

// String returns the prefix.
func (p *MACPool) String() string { return net.HardwareAddr(p.prefix[:]).String() }

// A MAC is an address as an array, which can be compared and costs no memory of its own.
type MAC [6]byte

// String returns 02:74:6c:00:00:01.
func (m MAC) String() string { return net.HardwareAddr(m[:]).String() }

// ParseMAC reads what net.ParseMAC does, six bytes long.
func ParseMAC(s string) (MAC, error) {
	hw, err := net.ParseMAC(s)
	if err != nil || len(hw) != 6 {
		return MAC{}, fmt.Errorf("ipam: mac %q: %w: not six bytes in hexadecimal", s, ErrInvalid)
	}
	return MAC(hw), nil
}

// number returns the last three bytes of an address with the pool's prefix.
func (p *MACPool) number(m MAC) (uint32, bool) {
	return binary.BigEndian.Uint32(m[2:]) & highestMAC, [3]byte(m[:3]) == p.prefix
}

func (p *MACPool) address(id uint32) (m MAC) {
	binary.BigEndian.PutUint32(m[2:], id)
	copy(m[:], p.prefix[:])
	return m
}

// Allocate returns a free address, or [ErrExhausted].
func (p *MACPool) Allocate() (MAC, error) {
	id, err := p.ids.Allocate()
	if err != nil {
		return MAC{}, p.refuse("mac", err)
	}
	return p.address(id), nil
}

// Reserve takes a specific address, or returns [ErrOutOfRange] or [ErrInUse].
func (p *MACPool) Reserve(m MAC) error {
	id, ok := p.number(m)
	if !ok {
		return p.refuse("mac "+m.String(), ErrOutOfRange)
	}
	if err := p.ids.Reserve(id); err != nil {
		return p.refuse("mac "+m.String(), err)
	}
	return nil
}

// refuse says of addresses what err says of numbers, or is.
func (p *MACPool) refuse(asked string, err error) error {
	if of, ok := errors.AsType[*RefusedError](err); ok {
		err = of.Err
	}
	used, total := p.Usage()
	return &RefusedError{Asked: asked, Of: p.String(), Used: used, Total: total, Err: err}
}

// Release frees an address; one that is free or not of the pool is no error.
func (p *MACPool) Release(m MAC) {
	if id, ok := p.number(m); ok {
		p.ids.Release(id)
	}
}

// Contains reports whether the pool may give the address.
func (p *MACPool) Contains(m MAC) bool {
	id, ok := p.number(m)
	return ok && p.ids.Contains(id)
}

// All calls yield with each address that is in use as it is called, in order,
// until it returns false. Yield may use the pool.
func (p *MACPool) All(yield func(MAC) bool) {
	p.ids.All(func(id uint32) bool { return yield(p.address(id)) })
}

// Usage returns how many addresses are in use and how many there are.
func (p *MACPool) Usage() (used, total uint64) { return p.ids.Usage() }

// NearlyFull is [IDPool.NearlyFull].
func (p *MACPool) NearlyFull() bool { return p.ids.NearlyFull() }
