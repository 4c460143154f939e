package policynft

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"github.com/tierloom/tierloom/policy"
)

// A Firewall keeps one table equal to a program. It holds a netlink socket
// until Close.
type Firewall struct {
	cfg   Config
	netns *os.File

	mu        sync.Mutex // serialises what follows
	kernel    *kernel    // nil: to be opened again
	prog      *policy.Program
	ports     []Port
	installed *Ruleset // nil: not known
}

// New opens a socket in the configuration's network namespace; it changes nothing.
// It needs CAP_NET_ADMIN, and CAP_SYS_ADMIN to enter another namespace.
func New(cfg Config) (*Firewall, error) {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	path := "/proc/thread-self/ns/net"
	if cfg.NetNS != 0 {
		path = fmt.Sprintf("/proc/self/fd/%d", cfg.NetNS)
	}
	netns, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("policynft: network namespace: %w", err)
	}
	f := &Firewall{cfg: cfg, netns: netns}
	if f.kernel, err = open(cfg, cfg.NetNS); err != nil {
		return nil, errors.Join(err, netns.Close())
	}
	return f, nil
}

// Close gives the socket back. The rules stay in force.
func (f *Firewall) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.netns == nil {
		return nil
	}
	f.installed = nil
	err := f.netns.Close()
	if f.kernel != nil {
		err = errors.Join(err, f.kernel.close())
	}
	f.netns, f.kernel = nil, nil
	return err
}

// readyLocked checks that there is a socket, and opens one after a failure.
func (f *Firewall) readyLocked(ctx context.Context) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	if f.netns == nil {
		return fmt.Errorf("policynft: table %s: %w", f.cfg.Table, os.ErrClosed)
	}
	if f.kernel == nil {
		f.kernel, err = open(f.cfg, int(f.netns.Fd()))
	}
	return err
}

// failedLocked notes that it is not known what the kernel has made of a transaction.
// The socket may have answers to it that nobody has read.
func (f *Firewall) failedLocked(err error) error {
	_ = f.kernel.close()
	f.kernel, f.installed = nil, nil
	return fmt.Errorf("policynft: table %s: %w", f.cfg.Table, err)
}

// Sync makes the table what a program (nil: drop all) says for some ports. It
// writes what differs from the last update; the first one of a
// Firewall replaces what is in the table. The rules of the program must not be
// changed afterwards.
func (f *Firewall) Sync(ctx context.Context, prog *policy.Program, ports []Port) error {
	if prog == nil {
		prog = &policy.Program{}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.syncLocked(ctx, clone(prog), slices.Clone(ports))
}

// Apply makes a change to the program of the last update, at the same ports. A
// set that gains what it has, or loses what it lacks, is a fault.
//
// Where only addresses of sets change, its cost is that of the change, unless one and
// the same change may allow more and less: a set is used by rules that allow and by rules
// that drop, by rules that pass on or keep connections, or sets of both kinds
// change. Then sets that change, and chains that look them up, are written anew.
func (f *Firewall) Apply(ctx context.Context, change policy.Change) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.prog == nil {
		return fmt.Errorf("policynft: a change before the first Sync: %w", ErrInvalid)
	}
	if err := checkChange(f.prog, change); err != nil {
		return err
	}
	elements := change.Default == nil && len(change.Rules)+len(change.Gone) == 0 &&
		!slices.ContainsFunc(change.Sets, func(s policy.SetChange) bool { // rules may depend on which sets there are
			_, ok := f.prog.Sets[s.ID]
			return s.Gone || !ok
		})
	if elements && f.installed != nil {
		if steps, ok := f.installed.steps(change.Sets); ok {
			return f.elementsLocked(ctx, change.Sets, steps)
		}
	}
	return f.syncLocked(ctx, f.prog.With(change), f.ports)
}

func (f *Firewall) syncLocked(ctx context.Context, prog *policy.Program, ports []Port) error {
	next, err := Compile(prog, ports, f.cfg)
	if err != nil {
		return err
	}
	if err := f.readyLocked(ctx); err != nil {
		return err
	}
	old := &Ruleset{}
	if f.installed == nil {
		err = f.kernel.replace(next)
	} else {
		old = f.installed
		err = f.kernel.change(old, next)
	}
	if err != nil {
		return f.failedLocked(err)
	}
	f.prog, f.ports, f.installed = prog, ports, next
	stale := next.stale(old)
	if len(stale) == 0 {
		return nil
	}
	return f.forgetLocked(func(e end, p Port) bool {
		chain := next.maps[e.name][p.Interface]
		return stale[chain] || old.maps[e.name][p.Interface] != chain
	}, func(netip.Addr) bool { return true })
}

// forgetLocked ends connections that the program does not allow any more, at ends and ports
// that may be affected, if the address of the other end is.
func (f *Firewall) forgetLocked(affected func(end, Port) bool, peers func(netip.Addr) bool) error {
	for _, e := range []end{egress(f.cfg), ingress(f.cfg)} {
		ports := map[netip.Addr]string{}
		for _, p := range f.ports {
			if len(p.IPs) > 0 && affected(e, p) {
				for _, a := range p.IPs {
					ports[a] = p.ID
				}
			}
		}
		if len(ports) == 0 {
			continue // to look through all connections takes its time
		}
		if err := f.kernel.forget(e.bit, func(first policy.Packet) bool {
			own, peer := first.Src, first.Dst
			if e.ownDst {
				own, peer = peer, own
			}
			port, ok := ports[own]
			return ok && peers(peer) && ends(f.prog, e.dir, port, first)
		}); err != nil {
			return f.failedLocked(fmt.Errorf("%w: %w", ErrConnections, err))
		}
	}
	return nil
}

// elementsLocked changes addresses of sets that are there, step by step.
func (f *Firewall) elementsLocked(ctx context.Context, changes []policy.SetChange, steps [][]elements) error {
	if err := f.readyLocked(ctx); err != nil {
		return err
	}
	for _, step := range steps {
		if err := f.kernel.elements(f.installed, step); err != nil {
			return f.failedLocked(err)
		}
	}
	for _, s := range changes {
		list := changed(f.prog.Sets[s.ID], s)
		f.prog.Sets[s.ID] = list
		for _, fam := range families {
			name := f.installed.group(s.ID, fam)
			f.installed.sets[name] = set{comment: s.ID, prefixes: part(list, fam), family: fam}
		}
	}
	restricted := f.installed.restricts(changes)
	return f.forgetLocked(func(e end, _ Port) bool { return restricted[e.dir] }, func(peer netip.Addr) bool {
		return slices.ContainsFunc(changes, func(s policy.SetChange) bool { return within(s.Added, peer) || within(s.Removed, peer) })
	})
}

// A Counter is the hits of a rule.
type Counter struct{ Packets, Bytes uint64 }

// Counters returns the hits of every rule by the id of the [policy.ProgramRule],
// at all ports together, since the rule was first in the table; and those of the
// default by DefaultOut and DefaultIn.
func (f *Firewall) Counters(ctx context.Context) (map[string]Counter, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.installed == nil {
		return nil, fmt.Errorf("policynft: counters of a table that is not known: %w", ErrInvalid)
	}
	if err := f.readyLocked(ctx); err != nil {
		return nil, err
	}
	list, err := f.kernel.conn.GetNamedObjects(f.kernel.table)
	if err != nil {
		return nil, f.failedLocked(fmt.Errorf("counters: %w", err))
	}
	out := make(map[string]Counter, len(f.installed.counters))
	for _, id := range f.installed.counters {
		out[id] = Counter{}
	}
	for _, o := range list {
		if named, ok := o.(*nftables.NamedObj); ok {
			id, ours := f.installed.counters[named.Name]
			if c, ok := named.Obj.(*expr.Counter); ok && ours {
				out[id] = Counter{c.Packets, c.Bytes}
			}
		}
	}
	return out, nil
}

// Delete removes the table of a configuration. One that is not there is no error.
func Delete(ctx context.Context, cfg Config) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	cfg = cfg.withDefaults()
	k, err := open(cfg, cfg.NetNS)
	if err != nil {
		return err
	}
	defer k.close()
	k.conn.AddTable(k.table) // deleting a table that is not there fails, adding one that is there does not
	k.conn.DelTable(k.table)
	if err := k.conn.Flush(); err != nil {
		return fmt.Errorf("policynft: table %s: delete: %w", cfg.Table, err)
	}
	return nil
}
