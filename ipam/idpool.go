package ipam

import (
	"errors"
	"fmt"
	"sync"
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

// An IDPool gives numbers: VLAN ids, VNIs, tunnel keys, conjunction ids. It
// gives the one after the last before it starts again from the lowest, so that
// an id rests after release. Make one with [NewIDPool]. It may be used
// concurrently. What it refuses is a [*RefusedError].
type IDPool struct {
	min, max uint32
	reserved *bitset

	mu     sync.Mutex // protects what follows
	used   *bitset    // and reserved
	cursor uint64
	gauge  gauge
}

// NewIDPool returns a pool with all ids free, or [ErrInvalid] naming every fault.
func NewIDPool(cfg IDConfig) (*IDPool, error) {
	reserved, err := cfg.reserved()
	if err != nil {
		return nil, err
	}
	return newIDPool(cfg, reserved), nil
}

func newIDPool(cfg IDConfig, reserved *bitset) *IDPool {
	p := &IDPool{min: cfg.Min, max: cfg.Max, reserved: reserved, used: reserved.clone()}
	p.gauge = cfg.Watermarks.gauge(p.total())
	return p
}

// reserved returns the reserved ids, less the lowest id.
func (cfg IDConfig) reserved() (*bitset, error) {
	errs := []error{cfg.Watermarks.validate()}
	fault := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("ipam: ids %d to %d: %w: "+format, append([]any{cfg.Min, cfg.Max, ErrInvalid}, args...)...))
	}
	var set *bitset
	if cfg.Min > cfg.Max {
		fault("empty")
	} else {
		set = newBitset(uint64(cfg.Max) - uint64(cfg.Min) + 1)
	}
	for _, id := range cfg.Reserved {
		if id < cfg.Min || id > cfg.Max {
			fault("reserved %d is not among them", id)
		} else {
			set.add(uint64(id - cfg.Min))
		}
	}
	if set != nil && set.count == set.size {
		fault("all are reserved")
	}
	return set, errors.Join(errs...)
}

// Allocate returns a free id, or [ErrExhausted].
func (p *IDPool) Allocate() (uint32, error) {
	lock(&p.mu)
	defer p.mu.Unlock()
	n, ok := p.used.next(p.cursor)
	if !ok {
		n, ok = p.used.next(0)
	}
	if !ok {
		return 0, p.refuseLocked("id", ErrExhausted)
	}
	p.used.approach(n)
	p.used.add(n)
	p.cursor = n + 1
	p.gauge.set(p.inUseLocked())
	return p.min + uint32(n), nil
}

func (p *IDPool) refuseLocked(asked string, err error) error {
	return &RefusedError{Asked: asked, Of: p.String(), Used: p.inUseLocked(), Total: p.total(), Err: err}
}

// Reserve takes a specific id, or returns [ErrOutOfRange] or [ErrInUse].
func (p *IDPool) Reserve(id uint32) error {
	lock(&p.mu)
	defer p.mu.Unlock()
	if !p.Contains(id) {
		return p.refuseLocked(fmt.Sprintf("id %d", id), ErrOutOfRange)
	}
	if !p.used.add(uint64(id - p.min)) {
		return p.refuseLocked(fmt.Sprintf("id %d", id), ErrInUse)
	}
	p.gauge.set(p.inUseLocked())
	return nil
}

// Release frees an id; one that is free, reserved or not of the pool is no error.
func (p *IDPool) Release(id uint32) {
	lock(&p.mu)
	defer p.mu.Unlock()
	if p.Contains(id) && p.used.remove(uint64(id-p.min)) {
		p.gauge.set(p.inUseLocked())
	}
}

// Contains reports whether the pool may give the id.
func (p *IDPool) Contains(id uint32) bool {
	return id >= p.min && id <= p.max && !p.reserved.has(uint64(id-p.min))
}

// All calls yield with each id that is in use as it is called, in order, until
// it returns false. Yield may use the pool.
func (p *IDPool) All(yield func(uint32) bool) {
	lock(&p.mu)
	used := p.used.clone()
	p.mu.Unlock()
	used.all(func(n uint64) bool { return p.reserved.has(n) || yield(p.min+uint32(n)) })
}

func (p *IDPool) total() uint64 { return p.reserved.size - p.reserved.count }

func (p *IDPool) inUseLocked() uint64 { return p.used.count - p.reserved.count }

// Usage returns how many ids are in use and how many there are.
func (p *IDPool) Usage() (used, total uint64) {
	lock(&p.mu)
	defer p.mu.Unlock()
	return p.inUseLocked(), p.total()
}

// NearlyFull reports whether use has reached the high watermark and not yet
// fallen to the low one since.
func (p *IDPool) NearlyFull() bool {
	lock(&p.mu)
	defer p.mu.Unlock()
	return p.gauge.high
}

// String returns "2 to 4094".
func (p *IDPool) String() string { return fmt.Sprintf("%d to %d", p.min, p.max) }
