package manager

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/tierloom/tierloom/examples/internal/api"
	"github.com/tierloom/tierloom/examples/internal/model"
	"github.com/tierloom/tierloom/ipam"
	"github.com/tierloom/tierloom/overlay"
	"github.com/tierloom/tierloom/reconcile/intent"
)

// An allocator leases from pools that are objects of intent. It is safe for
// concurrent use.
type allocator struct {
	registry *ipam.Registry
	intents  intent.Store

	mu sync.Mutex
	// open holds the spaces in use; a space is opened again when its
	// configuration changes.
	open map[string]space
}

// A space is a pool that leases are taken from, whatever their kind.
type space struct {
	config  string // what it was opened with
	acquire func(ctx context.Context, a api.Allocation) (string, error)
}

// lowestVNI leaves the ids below it to administrators, who give them to
// transit segments.
const lowestVNI = 4096

func refuse(code int, reason, format string, args ...any) error {
	return &api.Error{Code: code, Reason: reason, Message: fmt.Sprintf(format, args...)}
}

// allocate leases what a asks for and returns it with its value.
func (l *allocator) allocate(ctx context.Context, a api.Allocation) (api.Allocation, error) {
	if parts := strings.SplitN(a.Owner, "/", 3); len(parts) < 3 || slices.Contains(parts, "") {
		return a, refuse(http.StatusBadRequest, api.ReasonInvalid, `allocation: owner %q: want "cluster/role/uid"`, a.Owner)
	}
	s, err := l.space(ctx, a.Kind, a.Pool)
	if err != nil {
		return a, err
	}
	if a.Value, err = s.acquire(ctx, a); err != nil {
		return a, allocationError(a, err)
	}
	return a, nil
}

// release gives back what the owner holds of a pool. A pool that has been
// deleted since still takes back its leases.
func (l *allocator) release(ctx context.Context, a api.Allocation) error {
	return l.registry.Release(ctx, spaceName(a.Kind, a.Pool), a.Owner)
}

// list returns the leases whose owner starts with prefix, by space and owner.
func (l *allocator) list(prefix string) []api.Allocation {
	out := []api.Allocation{}
	for lease := range l.registry.Leases() {
		if !strings.HasPrefix(lease.Owner, prefix) {
			continue
		}
		kind, pool, _ := strings.Cut(lease.Space, ":")
		out = append(out, api.Allocation{Kind: kind, Pool: pool, Owner: lease.Owner, Value: lease.Value})
	}
	return out
}

func spaceName(kind, pool string) string { return kind + ":" + pool }

// allocationError gives an error of ipam the reason that clients act on.
func allocationError(a api.Allocation, err error) error {
	what := a.Kind
	if a.Pool != "" {
		what += " from " + a.Pool
	}
	switch {
	case errors.Is(err, ipam.ErrExhausted):
		return refuse(http.StatusConflict, api.ReasonExhausted, "%s for %s: %v", what, a.Owner, err)
	case errors.Is(err, ipam.ErrInUse), errors.Is(err, ipam.ErrConflict):
		return refuse(http.StatusConflict, api.ReasonInUse, "%s for %s: %v", what, a.Owner, err)
	case errors.Is(err, ipam.ErrOutOfRange):
		return refuse(http.StatusConflict, api.ReasonOutOfRange, "%s for %s: %v", what, a.Owner, err)
	case errors.Is(err, ipam.ErrUnavailable):
		return refuse(http.StatusServiceUnavailable, "", "%s for %s: %v", what, a.Owner, err)
	}
	return refuse(http.StatusBadRequest, api.ReasonInvalid, "%s for %s: %v", what, a.Owner, err)
}

// space opens the space of a pool as the pool's object now configures it.
func (l *allocator) space(ctx context.Context, kind, pool string) (space, error) {
	object, err := l.poolObject(ctx, kind, pool)
	if err != nil {
		return space{}, err
	}
	name := spaceName(kind, pool)
	l.mu.Lock()
	defer l.mu.Unlock()
	s, err := l.openSpace(ctx, name, kind, object)
	if err != nil {
		return space{}, refuse(http.StatusConflict, api.ReasonInvalid, "%s %s: %v", kind, pool, err)
	}
	return s, nil
}

// poolObject finds the object that configures a pool; the pools of VNIs and
// MACs are the manager's own and have none.
func (l *allocator) poolObject(ctx context.Context, kind, pool string) (intent.Object, error) {
	want := intent.Key{ResourceType: model.KindPool, ID: pool}
	segment, ofSegment := strings.CutPrefix(pool, "segment/")
	switch {
	case kind == api.VNI || kind == api.MAC:
		if pool != "" {
			return intent.Object{}, refuse(http.StatusBadRequest, api.ReasonInvalid, "allocation: kind %s has no pools, got %q", kind, pool)
		}
		return intent.Object{}, nil
	case kind == api.Subnet:
		want.ResourceType = model.KindBlock
	case kind == api.VLAN:
		want.ResourceType = model.KindSegmentPort
	case kind == api.Address && ofSegment:
		want = intent.Key{ResourceType: model.KindSegment, ID: segment}
	case kind != api.Address:
		return intent.Object{}, refuse(http.StatusBadRequest, api.ReasonInvalid, "allocation: no kind %q", kind)
	}
	objs, _, err := l.intents.List(ctx, intent.Query{ResourceType: want.ResourceType, ID: want.ID})
	if err != nil {
		return intent.Object{}, err
	}
	if len(objs) == 0 {
		return intent.Object{}, refuse(http.StatusNotFound, api.ReasonNotFound, "allocation: no %s %q", want.ResourceType, want.ID)
	}
	return objs[0], nil
}

// openSpace returns the space as object configures it: the open one, if that
// is how it was opened.
func (l *allocator) openSpace(ctx context.Context, name, kind string, object intent.Object) (space, error) {
	switch kind {
	case api.Subnet:
		return l.openSubnets(ctx, name, object)
	case api.Address:
		return l.openAddresses(ctx, name, object)
	case api.MAC:
		return reuse(l, name, ipam.MACConfig{Prefix: net.HardwareAddr{0x02, 0x74, 0x6c}}, l.openMACs)
	case api.VLAN:
		return reuse(l, name, ipam.IDConfig{Min: uint32(overlay.MinVLAN), Max: uint32(overlay.MaxVLAN)}, l.openIDs)
	default:
		return reuse(l, name, ipam.IDConfig{Min: lowestVNI, Max: uint32(overlay.MaxVNI)}, l.openIDs)
	}
}

// reuse opens a space unless it is open with the same configuration.
func reuse[C any](l *allocator, name string, cfg C, open func(name string, cfg C) (space, error)) (space, error) {
	config := fmt.Sprintf("%+v", cfg)
	if s, ok := l.open[name]; ok && s.config == config {
		return s, nil
	}
	s, err := open(name, cfg)
	if err != nil {
		return space{}, err
	}
	s.config = config
	l.open[name] = s
	return s, nil
}

func (l *allocator) openMACs(name string, cfg ipam.MACConfig) (space, error) {
	macs, err := l.registry.MACs(name, cfg)
	if err != nil {
		return space{}, err
	}
	return space{acquire: func(ctx context.Context, a api.Allocation) (string, error) {
		mac, err := macs.Acquire(ctx, a.Owner)
		return mac.String(), err
	}}, nil
}

func (l *allocator) openIDs(name string, cfg ipam.IDConfig) (space, error) {
	ids, err := l.registry.IDs(name, cfg)
	if err != nil {
		return space{}, err
	}
	return space{acquire: func(ctx context.Context, a api.Allocation) (string, error) {
		id, err := ids.Acquire(ctx, a.Owner)
		return strconv.FormatUint(uint64(id), 10), err
	}}, nil
}

func (l *allocator) openSubnets(ctx context.Context, name string, object intent.Object) (space, error) {
	block, err := model.Decode[model.Block](object)
	if err != nil {
		return space{}, err
	}
	return reuse(l, name, ipam.SubnetConfig{Prefixes: block.CIDRs}, func(name string, cfg ipam.SubnetConfig) (space, error) {
		// Two that came in one request were each checked without the other.
		if err := overlaps(ctx, l.intents, object); err != nil {
			return space{}, err
		}
		subnets, err := l.registry.Subnets(name, cfg)
		if err != nil {
			return space{}, err
		}
		return space{acquire: func(ctx context.Context, a api.Allocation) (string, error) {
			p, err := subnets.Acquire(ctx, a.Owner, a.PrefixLength)
			return p.String(), err
		}}, nil
	})
}

// openAddresses opens a pool, or a segment's subnets without their gateways.
func (l *allocator) openAddresses(ctx context.Context, name string, object intent.Object) (space, error) {
	var cfg ipam.AddressConfig
	if object.ResourceType == model.KindSegment {
		segment, err := model.Decode[model.Segment](object)
		if err != nil {
			return space{}, err
		}
		for _, s := range segment.Subnets {
			cfg.Prefixes = append(cfg.Prefixes, s.Gateway.Masked())
			cfg.Exclude = append(cfg.Exclude, s.Gateway.Addr())
		}
	} else {
		pool, err := model.Decode[model.Pool](object)
		if err != nil {
			return space{}, err
		}
		if cfg, err = pool.Config(); err != nil {
			return space{}, err
		}
	}
	return reuse(l, name, cfg, func(name string, cfg ipam.AddressConfig) (space, error) {
		if err := overlaps(ctx, l.intents, object); err != nil {
			return space{}, err
		}
		return l.openPool(name, cfg)
	})
}

func (l *allocator) openPool(name string, cfg ipam.AddressConfig) (space, error) {
	addresses, err := l.registry.Addresses(name, cfg)
	if err != nil {
		return space{}, err
	}
	return space{acquire: func(ctx context.Context, a api.Allocation) (string, error) {
		if a.Value == "" {
			ip, err := addresses.Acquire(ctx, a.Owner)
			return ip.String(), err
		}
		want, err := netip.ParseAddr(a.Value)
		if err != nil {
			return "", err
		}
		ip, err := addresses.AcquireSpecific(ctx, a.Owner, want)
		return ip.String(), err
	}}, nil
}
