package hostagent

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/tierloom/tierloom/topology"
)

// keyPrefix marks the external_ids of the bridge that hold ports' keys.
const keyPrefix = "tierloom-key-"

// maxKey keeps keys within a conntrack zone's 16 bits.
const maxKey = 0xffff

// keys gives each port its key: the one it has, else the lowest free. New
// keys are in the database before they are returned. Stale are the keys of
// ports that are gone; they are free once [session.forget] was called.
func (s *session) keys(ctx context.Context, ports []topology.SpanPort) (keys, stale map[string]uint32, err error) {
	ids, err := s.vs.BridgeExternalIDs(ctx, s.cfg.Bridge)
	if err != nil {
		return nil, nil, err
	}
	keys, stale, fresh, err := assign(ids, ports)
	if err != nil {
		return nil, nil, fmt.Errorf("bridge %s: %w", s.cfg.Bridge, err)
	}
	if len(fresh) > 0 {
		err = s.vs.SetBridgeExternalIDs(ctx, s.cfg.Bridge, fresh, nil)
	}
	return keys, stale, err
}

// assign works out [session.keys] from the external_ids of the bridge; fresh
// are those to be added.
func assign(ids map[string]string, ports []topology.SpanPort) (keys, stale map[string]uint32, fresh map[string]string, err error) {
	stale = map[string]uint32{}
	used := map[uint32]bool{}
	for _, k := range slices.Sorted(maps.Keys(ids)) {
		id, ok := strings.CutPrefix(k, keyPrefix)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(ids[k], 10, 16)
		if err != nil || n == 0 || used[uint32(n)] {
			return nil, nil, nil, fmt.Errorf("external_ids %s=%q: not a key of its own", k, ids[k])
		}
		stale[id], used[uint32(n)] = uint32(n), true
	}
	keys = map[string]uint32{}
	fresh = map[string]string{}
	next := uint32(1)
	ports = slices.Clone(ports)
	slices.SortFunc(ports, func(a, b topology.SpanPort) int { return strings.Compare(a.ID, b.ID) })
	for _, p := range ports {
		if n, ok := stale[p.ID]; ok {
			keys[p.ID] = n
			delete(stale, p.ID)
			continue
		}
		for used[next] {
			next++
		}
		if next > maxKey {
			return nil, nil, nil, fmt.Errorf("port %q: no key left: %d ports have one", p.ID, len(used))
		}
		keys[p.ID], used[next] = next, true
		fresh[keyPrefix+p.ID] = strconv.Itoa(int(next))
	}
	return keys, stale, fresh, nil
}

// forget frees keys whose flows are gone: their connections end, so that the
// next port with the key starts with none.
func (s *session) forget(ctx context.Context, stale map[string]uint32) error {
	if len(stale) == 0 {
		return nil
	}
	var names []string
	for id, key := range stale {
		if err := s.of.FlushCTZone(ctx, uint16(key)); err != nil {
			return err
		}
		names = append(names, keyPrefix+id)
	}
	return s.vs.SetBridgeExternalIDs(ctx, s.cfg.Bridge, nil, names)
}
