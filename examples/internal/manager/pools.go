package manager

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/tierloom/tierloom/examples/internal/model"
	"github.com/tierloom/tierloom/ipam"
	"github.com/tierloom/tierloom/reconcile/intent"
)

// An extent is a stretch of addresses of a block or pool, with its name in
// the object.
type extent struct {
	first, last netip.Addr
	name        string
}

// extents returns the addresses of a block or pool; it is an error if nothing
// could be leased from them.
func extents(o intent.Object) ([]extent, error) {
	var cidrs []netip.Prefix
	var out []extent
	switch o.ResourceType {
	case model.KindBlock:
		b, err := model.Decode[model.Block](o)
		if err != nil {
			return nil, err
		}
		if _, err := ipam.NewBlock(ipam.SubnetConfig{Prefixes: b.CIDRs}); err != nil {
			return nil, err
		}
		cidrs = b.CIDRs
	case model.KindPool:
		p, err := model.Decode[model.Pool](o)
		if err != nil {
			return nil, err
		}
		cfg, err := p.Config()
		if err != nil {
			return nil, err
		}
		if _, err := ipam.NewPool(cfg); err != nil {
			return nil, err
		}
		for _, r := range cfg.Ranges {
			out = append(out, extent{r.First, r.Last, r.String()})
		}
		cidrs = p.CIDRs
	}
	for _, p := range cidrs {
		out = append(out, extent{p.Addr(), lastOf(p), p.String()})
	}
	return out, nil
}

// lastOf returns the last address of a prefix.
func lastOf(p netip.Prefix) netip.Addr {
	raw := p.Addr().AsSlice()
	for bit := p.Bits(); bit < len(raw)*8; bit++ {
		raw[bit/8] |= 0x80 >> (bit % 8)
	}
	a, _ := netip.AddrFromSlice(raw) // of 4 or 16 bytes
	return a
}

// overlaps says where a block or pool shares addresses with another: nobody
// must get from two of them what only one may have.
func overlaps(ctx context.Context, store intent.Store, o intent.Object) error {
	own, err := extents(o)
	if err != nil {
		return err
	}
	var errs []error
	for _, kind := range []string{model.KindBlock, model.KindPool} {
		others, _, err := store.List(ctx, intent.Query{ResourceType: kind})
		if err != nil {
			return err
		}
		for _, other := range others {
			if other.Key() == o.Key() {
				continue
			}
			theirs, err := extents(other)
			if err != nil {
				continue // it gives nothing
			}
			errs = append(errs, shared(own, theirs, other))
		}
	}
	return errors.Join(errs...)
}

func shared(own, theirs []extent, other intent.Object) error {
	var errs []error
	for _, p := range own {
		for _, q := range theirs {
			if p.first.BitLen() == q.first.BitLen() && !p.last.Less(q.first) && !q.last.Less(p.first) {
				errs = append(errs, fmt.Errorf("%s overlaps %s of %s %q", p.name, q.name, other.ResourceType, other.ID))
			}
		}
	}
	return errors.Join(errs...)
}
