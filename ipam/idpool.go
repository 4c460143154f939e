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
	// Watermarks say when the pool is nearly full; zero is never.
	Watermarks Watermarks
}

// An IDPool gives numbers: VLAN ids, VNIs, tunnel keys. It gives the one after the last
// before it starts again from the lowest, so that an id rests after release.
// Make one with [NewIDPool]. It is not safe for concurrent use.
type IDPool struct {
	min, max uint32
	used     *bitset // and reserved
	reserved *bitset
	cursor   uint64
	gauge    gauge
}

// NewIDPool returns a pool with all ids free, or [ErrInvalid] naming every fault.
func NewIDPool(cfg IDConfig) (*IDPool, error) {
	if cfg.Min > cfg.Max {
		return nil, fmt.Errorf("ipam: ids %d to %d: %w: empty", cfg.Min, cfg.Max, ErrInvalid)
	}
	size := uint64(cfg.Max) - uint64(cfg.Min) + 1
	p := &IDPool{min: cfg.Min, max: cfg.Max, used: newBitset(size), reserved: newBitset(size)}
	errs := []error{cfg.Watermarks.validate()}
	for _, id := range cfg.Reserved {
		if id < cfg.Min || id > cfg.Max {
			errs = append(errs, fmt.Errorf("ipam: ids %d to %d: reserved %d: %w: not among them", cfg.Min, cfg.Max, id, ErrInvalid))
			continue
		}
		p.reserved.add(uint64(id - cfg.Min))
		p.used.add(uint64(id - cfg.Min))
	}
	if p.reserved.count == size {
		errs = append(errs, fmt.Errorf("ipam: ids %d to %d: %w: all are reserved", cfg.Min, cfg.Max, ErrInvalid))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	p.gauge = cfg.Watermarks.gauge(size - p.reserved.count)
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
		return 0, fmt.Errorf("ipam: id from %d to %d: %w (%d of %d in use)", p.min, p.max, ErrExhausted, used, total)
	}
	p.used.add(n)
	p.cursor = n + 1
	p.gauge.set(p.inUse())
	return p.min + uint32(n), nil
}

// Reserve takes a specific id.
func (p *IDPool) Reserve(id uint32) error {
	if !p.Contains(id) {
		return fmt.Errorf("ipam: id %d from %d to %d: %w", id, p.min, p.max, ErrOutOfRange)
	}
	if !p.used.add(uint64(id - p.min)) {
		return fmt.Errorf("ipam: id %d: %w", id, ErrInUse)
	}
	p.gauge.set(p.inUse())
	return nil
}

// Release frees an id; one that is free, reserved or not of the pool is no error.
func (p *IDPool) Release(id uint32) {
	if p.Contains(id) && p.used.remove(uint64(id-p.min)) {
		p.gauge.set(p.inUse())
	}
}

// Contains reports whether the pool may give the id.
func (p *IDPool) Contains(id uint32) bool {
	return id >= p.min && id <= p.max && !p.reserved.has(uint64(id-p.min))
}

// All calls yield with each id in use, in order, until it returns false.
func (p *IDPool) All(yield func(uint32) bool) {
	p.used.all(func(n uint64) bool { return p.reserved.has(n) || yield(p.min+uint32(n)) })
}

func (p *IDPool) inUse() uint64 { return p.used.count - p.reserved.count }

// Usage returns how many ids are in use and how many there are.
func (p *IDPool) Usage() (used, total uint64) {
	return p.inUse(), p.used.size - p.reserved.count
}

// NearlyFull reports whether use has reached the high watermark and not yet
// fallen to the low one since.
func (p *IDPool) NearlyFull() bool { return p.gauge.high }
