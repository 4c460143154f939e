package ipam

import (
	"errors"
	"fmt"
)

// IDConfig says which ids an [IDPool] gives.
type IDConfig struct {
	// Min to Max, both inclusive.
	Min, Max uint32
	// Reserved are never given.
	Reserved []uint32
}

// An IDPool gives numbers: VLAN ids, VNIs. It gives the one after the last
// before it starts again from the lowest, so that an id rests after release.
// Make one with [NewIDPool]. It is not safe for concurrent use.
type IDPool struct {
	cfg      IDConfig
	used     *bitset
	reserved map[uint32]bool
	cursor   uint64
}

// NewIDPool returns a pool with all ids free, or [ErrInvalid] naming every fault.
func NewIDPool(cfg IDConfig) (*IDPool, error) {
	var errs []error
	if cfg.Min > cfg.Max {
		errs = append(errs, fmt.Errorf("ipam: ids %d to %d: %w: empty", cfg.Min, cfg.Max, ErrInvalid))
	}
	p := &IDPool{cfg: cfg, used: newBitset(uint64(cfg.Max) - uint64(cfg.Min) + 1), reserved: map[uint32]bool{}}
	for _, id := range cfg.Reserved {
		if id < cfg.Min || id > cfg.Max {
			errs = append(errs, fmt.Errorf("ipam: ids %d to %d: reserved %d: %w: not among them", cfg.Min, cfg.Max, id, ErrInvalid))
			continue
		}
		p.reserved[id] = true
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	for id := range p.reserved {
		p.used.add(uint64(id - cfg.Min))
	}
	return p, nil
}

// Allocate returns a free id.
func (p *IDPool) Allocate() (uint32, error) {
	n, ok := p.used.next(p.cursor)
	if !ok {
		n, ok = p.used.next(0)
	}
	if !ok {
		used, total := p.Usage()
		return 0, fmt.Errorf("ipam: id from %d to %d: %w (%d of %d in use)", p.cfg.Min, p.cfg.Max, ErrExhausted, used, total)
	}
	p.used.add(n)
	p.cursor = n + 1
	return p.cfg.Min + uint32(n), nil
}

// Reserve takes a specific id.
func (p *IDPool) Reserve(id uint32) error {
	if !p.Contains(id) {
		return fmt.Errorf("ipam: id %d from %d to %d: %w", id, p.cfg.Min, p.cfg.Max, ErrOutOfRange)
	}
	if !p.used.add(uint64(id - p.cfg.Min)) {
		return fmt.Errorf("ipam: id %d: %w", id, ErrInUse)
	}
	return nil
}

// Release frees an id; one that is free, reserved or not of the pool is no error.
func (p *IDPool) Release(id uint32) {
	if p.Contains(id) {
		p.used.remove(uint64(id - p.cfg.Min))
	}
}

// Contains reports whether the pool may give the id.
func (p *IDPool) Contains(id uint32) bool {
	return id >= p.cfg.Min && id <= p.cfg.Max && !p.reserved[id]
}

// Usage returns how many ids are in use and how many there are.
func (p *IDPool) Usage() (used, total uint64) {
	n := uint64(len(p.reserved))
	return p.used.count - n, p.used.size - n
}
