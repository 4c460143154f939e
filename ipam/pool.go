package ipam

import (
	"maps"
	"net/netip"
	"slices"
	"sync"
)

// AddressConfig says which addresses a [Pool] gives. All are of one family.
type AddressConfig struct {
	// Prefixes are given without their network and broadcast addresses
	// (IPv4, shorter than /31), or without the all-zero address (IPv6,
	// shorter than /127, RFC 4291 section 2.6.1).
	Prefixes []netip.Prefix
	// Ranges are given whole.
	Ranges []Range
	// Exclude are never given: gateways and the like. Each lies in one of the
	// prefixes or ranges.
	Exclude []netip.Addr
	// Watermarks say when the pool is nearly full; zero is never.
	Watermarks Watermarks
}

// A Pool gives single addresses: the one after the last it gave, so that an
// address rests after release. It costs a bit an address where addresses are
// in use. Of a prefix or range with more than 2^48 addresses, Allocate gives
// the first 2^48, and Reserve any. Make one with [NewPool]. It may be used
// concurrently. What it refuses is a [*RefusedError].
type Pool struct {
	mu      sync.Mutex // protects what follows; what changes with each address is first
	cursor  uint64
	used    bitset // numbers in use, and excluded ones
	layout  *layout
	far     map[netip.Addr]bool // in use without a number
	leaving map[netip.Addr]bool // in use, but no longer given
	gauge   gauge
}

// NewPool returns a pool with all addresses free, or [ErrInvalid] naming
// every fault: host bits, overlaps, mixed families, what is excluded but not
// part of the pool, nothing left to give.
func NewPool(cfg AddressConfig) (*Pool, error) {
	l, err := newLayout(cfg)
	if err != nil {
		return nil, err
	}
	p := &Pool{leaving: map[netip.Addr]bool{}}
	p.giveLocked(l, cfg.Watermarks)
	return p, nil
}

// giveLocked makes the pool an empty one of a layout.
func (p *Pool) giveLocked(l *layout, w Watermarks) {
	p.layout, p.used, p.far = l, *l.excluded.clone(), map[netip.Addr]bool{}
	p.cursor, p.gauge = 0, w.gauge(l.total)
}

// Allocate returns a free address, or [ErrExhausted].
func (p *Pool) Allocate() (netip.Addr, error) {
	lock(&p.mu)
	n, err := p.nextLocked()
	l := p.layout
	p.mu.Unlock()
	if err != nil {
		return netip.Addr{}, err
	}
	return l.address(n), nil
}

// nextLocked takes a number of the layout.
func (p *Pool) nextLocked() (uint64, error) {
	n, ok := p.used.next(p.cursor)
	if !ok {
		n, ok = p.used.next(0)
	}
	if !ok {
		return 0, p.refuseLocked("address", ErrExhausted)
	}
	p.used.approach(n)
	p.used.add(n)
	p.cursor = n + 1
	p.gauge.set(p.inUseLocked())
	return n, nil
}

// peek returns what Allocate will give unless that is in use, or no address.
func (p *Pool) peek() netip.Addr {
	if !p.mu.TryLock() {
		return netip.Addr{}
	}
	n, l := p.cursor, p.layout
	p.mu.Unlock()
	return l.address(n)
}

func (p *Pool) refuseLocked(asked string, err error) error {
	return &RefusedError{Asked: asked, Of: p.layout.String(), Used: p.inUseLocked(), Total: p.layout.total, Err: err}
}

// AllocatePair returns an address of each of two pools, or of neither: what a
// dual-stack interface needs.
func AllocatePair(a, b *Pool) (netip.Addr, netip.Addr, error) {
	first, err := a.Allocate()
	if err != nil {
		return netip.Addr{}, netip.Addr{}, err
	}
	second, err := b.Allocate()
	if err != nil {
		a.Release(first)
		return netip.Addr{}, netip.Addr{}, err
	}
	return first, second, nil
}

// Reserve takes a specific address, or returns [ErrOutOfRange] or [ErrInUse].
func (p *Pool) Reserve(a netip.Addr) error {
	lock(&p.mu)
	defer p.mu.Unlock()
	n, numbered, given := p.layout.gives(a)
	switch {
	case p.leaving[a]:
		return p.refuseLocked("address "+a.String(), ErrInUse)
	case !given:
		return p.refuseLocked("address "+a.String(), ErrOutOfRange)
	case !p.takeLocked(a, n, numbered):
		return p.refuseLocked("address "+a.String(), ErrInUse)
	}
	p.gauge.set(p.inUseLocked())
	return nil
}

// takeLocked takes an address of the pool, and reports whether it was free.
func (p *Pool) takeLocked(a netip.Addr, n uint64, numbered bool) bool {
	if numbered {
		return p.used.add(n)
	}
	free := !p.far[a]
	p.far[a] = true
	return free
}

// Release frees an address; one that is free or not of the pool is no error.
func (p *Pool) Release(a netip.Addr) {
	lock(&p.mu)
	p.releaseLocked(a)
	p.mu.Unlock()
}

func (p *Pool) releaseLocked(a netip.Addr) {
	n, numbered, given := p.layout.gives(a)
	switch {
	case !given:
		delete(p.leaving, a)
	case numbered:
		p.used.remove(n)
	default:
		delete(p.far, a)
	}
	p.gauge.set(p.inUseLocked())
}

// Contains reports whether the pool may give the address.
func (p *Pool) Contains(a netip.Addr) bool {
	lock(&p.mu)
	defer p.mu.Unlock()
	_, _, given := p.layout.gives(a)
	return given
}

// Reconfigure makes the pool give other addresses. It keeps what is in use:
// what the new configuration has not stays in use until it is released, and is
// not given again; [Pool.Leaving] lists it. After an error nothing has changed.
func (p *Pool) Reconfigure(cfg AddressConfig) error {
	l, err := newLayout(cfg)
	if err != nil {
		return err
	}
	lock(&p.mu)
	defer p.mu.Unlock()
	before, used, others := p.layout, p.used, p.othersLocked()
	var last netip.Addr
	if p.cursor > 0 {
		last = before.address(p.cursor - 1)
	}
	p.giveLocked(l, cfg.Watermarks)
	p.leaving = map[netip.Addr]bool{}
	used.all(func(n uint64) bool {
		if !before.excluded.has(n) {
			p.keepLocked(before.address(n))
		}
		return true
	})
	for _, a := range others {
		p.keepLocked(a)
	}
	if n, numbered, _ := l.find(last); numbered {
		p.cursor = n + 1
	}
	p.gauge.set(p.inUseLocked())
	return nil
}

// keepLocked takes an address that was in use before.
func (p *Pool) keepLocked(a netip.Addr) {
	if n, numbered, given := p.layout.gives(a); given {
		p.takeLocked(a, n, numbered)
	} else {
		p.leaving[a] = true
	}
}

// othersLocked returns what is in use without a number, those that are leaving last.
func (p *Pool) othersLocked() []netip.Addr {
	return append(slices.SortedFunc(maps.Keys(p.far), netip.Addr.Compare), p.leavingLocked()...)
}

// All calls yield with each address that is in use as it is called, those that
// are leaving last, until it returns false. Yield may use the pool.
func (p *Pool) All(yield func(netip.Addr) bool) {
	lock(&p.mu)
	l, used, others := p.layout, p.used.clone(), p.othersLocked()
	p.mu.Unlock()
	if !used.all(func(n uint64) bool { return l.excluded.has(n) || yield(l.address(n)) }) {
		return
	}
	for _, a := range others {
		if !yield(a) {
			return
		}
	}
}

// Leaving returns, sorted, what is in use but no longer of the pool.
func (p *Pool) Leaving() []netip.Addr {
	lock(&p.mu)
	defer p.mu.Unlock()
	return p.leavingLocked()
}

func (p *Pool) leavingLocked() []netip.Addr {
	return slices.SortedFunc(maps.Keys(p.leaving), netip.Addr.Compare)
}

func (p *Pool) inUseLocked() uint64 {
	return p.used.count - p.layout.excluded.count + uint64(len(p.far))
}

// Usage returns how many addresses are in use and how many there are, at most
// [math.MaxUint64]. What is leaving is in neither.
func (p *Pool) Usage() (used, total uint64) {
	lock(&p.mu)
	defer p.mu.Unlock()
	return p.inUseLocked(), p.layout.total
}

// NearlyFull reports whether use has reached the high watermark and not yet
// fallen to the low one since.
func (p *Pool) NearlyFull() bool {
	lock(&p.mu)
	defer p.mu.Unlock()
	return p.gauge.high
}

// String returns the first and last address of each run, of the first few.
func (p *Pool) String() string {
	lock(&p.mu)
	defer p.mu.Unlock()
	return p.layout.String()
}
