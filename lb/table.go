package lb

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
)

// Config is the point of view of a Table. The zero value is a pod on no node
// in particular: cluster IPs and external IPs, endpoints of all nodes.
type Config struct {
	// Node is the node whose endpoints Local policies keep to. Empty, as on
	// an edge, Local means Cluster.
	Node string
	// NodeAddrs are the addresses that node ports are offered on.
	NodeAddrs []netip.Addr
	// Outside says that the traffic comes from outside of the cluster: cluster
	// IPs are left out, and external policies apply. Otherwise it comes from a
	// pod, for which the endpoints of all nodes stand behind external addresses.
	Outside bool
}

// Table holds services and endpoints and works out frontends. Make one with
// NewTable. It is safe for concurrent use. A change costs the service it is
// about; State costs the frontends there are.
type Table struct {
	cfg Config

	mu      sync.Mutex // protects entries
	entries map[string]*entry
}

// entry is what is known of one service. Endpoints may come before the service.
type entry struct {
	service   *Service
	endpoints []Endpoint
	frontends []Frontend
}

// NewTable returns an empty Table.
func NewTable(cfg Config) *Table {
	cfg.NodeAddrs = slices.Clone(cfg.NodeAddrs)
	return &Table{cfg: cfg, entries: map[string]*entry{}}
}

// SetService adds a service or replaces the one with its ID; endpoints stay.
// An invalid service changes nothing.
func (t *Table) SetService(s Service) error {
	if err := s.Validate(); err != nil {
		return err
	}
	s = s.clone()
	t.update(s.ID, func(e *entry) { e.service = &s })
	return nil
}

// DeleteService removes a service and keeps its endpoints. One that is not there is no error.
func (t *Table) DeleteService(id string) {
	t.update(id, func(e *entry) { e.service = nil })
}

// SetEndpoints replaces all endpoints of a service, which may come later.
// Invalid endpoints change nothing.
func (t *Table) SetEndpoints(id string, endpoints []Endpoint) error {
	var faults []error
	if id == "" {
		faults = append(faults, fmt.Errorf("lb: endpoints: service id is empty: %w", ErrInvalid))
	}
	for i, e := range endpoints {
		if f := addrFault(e.Addr); f != "" {
			faults = append(faults, fmt.Errorf("lb: service %q: endpoints[%d].addr: %s: %w", id, i, f, ErrInvalid))
		}
		if e.Port == 0 {
			faults = append(faults, fmt.Errorf("lb: service %q: endpoints[%d].port: 0: %w", id, i, ErrInvalid))
		}
	}
	if err := errors.Join(faults...); err != nil {
		return err
	}
	t.update(id, func(e *entry) { e.endpoints = slices.Clone(endpoints) })
	return nil
}

// DeleteEndpoints removes all endpoints of a service; its frontends stay, without backends.
func (t *Table) DeleteEndpoints(id string) {
	t.update(id, func(e *entry) { e.endpoints = nil })
}

// update changes one entry and recomputes its frontends.
func (t *Table) update(id string, change func(*entry)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.entries[id]
	if e == nil {
		e = &entry{}
	}
	change(e)
	if e.service == nil && len(e.endpoints) == 0 {
		delete(t.entries, id)
		return
	}
	t.entries[id], e.frontends = e, nil
	if e.service != nil {
		e.frontends = frontends(t.cfg, *e.service, e.endpoints)
	}
}

// State returns all frontends, sorted by key, each key once.
func (t *Table) State() []Frontend {
	all := t.claims()
	return slices.CompactFunc(all, func(a, b Frontend) bool { return a.Key == b.Key })
}

// Conflict is a frontend that several services claim.
type Conflict struct {
	Key    Key
	Holder string   // ID of the service that has it
	Others []string // IDs of those that do not, sorted
}

// Conflicts returns the frontends that more than one service claims, sorted by
// key. The lowest service ID holds a frontend.
func (t *Table) Conflicts() []Conflict {
	var out []Conflict
	all := t.claims()
	for i := 1; i < len(all); i++ {
		if all[i].Key != all[i-1].Key || all[i].Service == all[i-1].Service {
			continue
		}
		if n := len(out); n == 0 || out[n-1].Key != all[i].Key {
			out = append(out, Conflict{Key: all[i].Key, Holder: all[i-1].Service})
		}
		last := &out[len(out)-1]
		last.Others = append(last.Others, all[i].Service)
	}
	return out
}

// claims returns the frontends of all services, sorted by key, then service.
func (t *Table) claims() []Frontend {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := 0
	for _, e := range t.entries {
		n += len(e.frontends)
	}
	all := make([]Frontend, 0, n)
	for _, e := range t.entries {
		all = append(all, e.frontends...)
	}
	slices.SortFunc(all, func(a, b Frontend) int {
		return cmp.Or(a.Key.Compare(b.Key), cmp.Compare(a.Service, b.Service), cmp.Compare(a.PortName, b.PortName), cmp.Compare(a.Kind, b.Kind))
	})
	return all
}
