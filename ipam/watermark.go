package ipam

import (
	"fmt"
	"math"
)

// Watermarks are shares of a pool, from 0 to 1. A pool is nearly full from the
// time that use reaches High until it falls to Low, which is less: near the
// mark, the state does not flap.
type Watermarks struct{ High, Low float64 }

func (w Watermarks) validate() error {
	if w == (Watermarks{}) || 0 <= w.Low && w.Low < w.High && w.High <= 1 {
		return nil
	}
	return fmt.Errorf("ipam: watermarks %v and %v: %w: want 0 <= low < high <= 1", w.High, w.Low, ErrInvalid)
}

// gauge returns the watermarks of a pool of a size, as counts.
func (w Watermarks) gauge(size uint64) gauge {
	if w.High == 0 {
		return gauge{rise: math.MaxUint64}
	}
	return gauge{rise: max(1, share(w.High, size)), fall: share(w.Low, size)}
}

// share returns a share of a size, rounded down.
func share(of float64, size uint64) uint64 {
	if n := of * float64(size); n < math.MaxUint64 {
		return uint64(n)
	}
	return math.MaxUint64
}

// A gauge remembers which watermark was passed last.
type gauge struct {
	rise, fall uint64
	high       bool
}

func (g *gauge) set(used uint64) {
	switch {
	case used >= g.rise:
		g.high = true
	case used <= g.fall:
		g.high = false
	}
}
