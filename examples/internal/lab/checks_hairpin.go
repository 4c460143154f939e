package lab

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"

	"github.com/tierloom/tierloom/examples/internal/cluster"
	"github.com/tierloom/tierloom/lb/lbovs"
)

// Services of the manifests: one with redis-leader alone behind it, one with
// three frontends, which also has the LoadBalancer address.
var (
	leaderService   = netip.MustParseAddrPort("10.96.0.11:6379")
	frontendService = netip.MustParseAddrPort("10.96.0.10:8080")
)

// hairpins are connections from pods of production by their own services, made
// while nothing is denied.
type hairpins struct {
	address net.Conn // redis-leader to its own address
	only    net.Conn // redis-leader by its service, of which it is the only endpoint
	itself  net.Conn // frontend-1 by its service, to itself
	another net.Conn // frontend-1 by its service, to another
	seen    reply    // what the other said
}

func (h *hairpins) close() {
	for _, c := range []net.Conn{h.address, h.only, h.itself, h.another} {
		if c != nil {
			c.Close()
		}
	}
}

// connectHairpins makes the connections. Which endpoint a service picks is chance.
func (l *Lab) connectHairpins(ctx context.Context) (h *hairpins, err error) {
	h = &hairpins{}
	leader, front := l.pod("production/redis-leader"), l.pod("production/frontend-1")
	var err1, err2 error
	h.address, err1 = l.dial(ctx, leader.machine(), "tcp", netip.AddrPortFrom(leader.ip, 6379).String(), patience)
	h.only, err2 = l.dial(ctx, leader.machine(), "tcp", leaderService.String(), patience)
	err = errors.Join(err1, err2)
	for range 60 {
		if err != nil || h.itself != nil && h.another != nil {
			break
		}
		var c net.Conn
		if c, err = l.dial(ctx, front.machine(), "tcp", frontendService.String(), patience); err != nil {
			break
		}
		var r reply
		if r, err = exchange(c, patience); err == nil && r.name == front.String() && h.itself == nil {
			h.itself = c
		} else if err == nil && r.name != front.String() && h.another == nil {
			h.another, h.seen = c, r
		} else {
			c.Close()
		}
	}
	if err == nil && (h.itself == nil || h.another == nil) {
		err = fmt.Errorf("%s picks one endpoint only", frontendService)
	}
	if err != nil {
		h.close()
	}
	return h, err
}

// checkHairpins tries, with a default deny in force, the four cases of what a pod sends to
// its own service (package netpol, "Hairpins"), in connections of before and in new ones.
func (l *Lab) checkHairpins(ctx context.Context, h *hairpins) error {
	const group = "hairpin"
	leader, front := l.pod("production/redis-leader"), l.pod("production/frontend-1")
	hidden := lbovs.DefaultLayout().Hairpin4
	// seen is whom the pod itself sees, in an old connection and in a new one.
	seen := func(old net.Conn, to netip.AddrPort) string {
		a, err1 := exchange(old, patience)
		b, err2 := l.probe(ctx, leader.machine(), "tcp", to)
		return fmt.Sprint(a.peer.Addr(), errText(err1), " ", b.peer.Addr(), errText(err2))
	}
	l.equal(group, "case 1, own address: the pod sees itself, in an old and a new connection", fmt.Sprint(leader.ip, " ", leader.ip), seen(h.address, netip.AddrPortFrom(leader.ip, 6379)))
	l.equal(group, "case 2, the only endpoint: the pod sees the hairpin address, in an old and a new connection", fmt.Sprint(hidden, " ", hidden), seen(h.only, leaderService))
	_, err := exchange(h.itself, patience)
	l.equal(group, "case 2, one endpoint of three: the old connection to itself goes on", "<nil>", fmt.Sprint(err))
	l.comes(ctx, group, "case 3, one endpoint of three: the old connection to another ends", func() (bool, string) {
		r, err := exchange(h.another, probeTimeout)
		return err != nil, r.name + " still answers"
	})
	s, err := l.readStatus(cluster.Ref{Kind: cluster.KindService, Namespace: "production", Name: "guestbook"})
	if err != nil {
		return err
	}
	balancer, err := netip.ParseAddr(s.LoadBalancer)
	if err != nil {
		return err
	}
	counts := make([]map[string]int, 2)
	var wg sync.WaitGroup
	for i, to := range []netip.AddrPort{frontendService, netip.AddrPortFrom(balancer, 80)} {
		wg.Go(func() { counts[i] = l.burst(ctx, front, to) })
	}
	wg.Wait()
	for i, name := range []string{"cluster IP", "LoadBalancer address"} {
		silent := counts[i][""]
		delete(counts[i], "")
		l.holds(group, "cases 2 and 3, new connections by the "+name+": the pod itself alone answers", fmt.Sprintf("%s, and nobody else", front),
			silent > 0 && slices.Equal(slices.Collect(maps.Keys(counts[i])), []string{front.String()}), "%v, %d without an answer", counts[i], silent)
	}
	l.equal(group, "case 4, masquerading: the other endpoint saw the pod's own address", front.ip, h.seen.peer.Addr())
	return nil
}

// burst makes many connections at once and counts who answers, "" being nobody.
func (l *Lab) burst(ctx context.Context, from *pod, to netip.AddrPort) map[string]int {
	var names [40]string
	var wg sync.WaitGroup
	for i := range names {
		wg.Go(func() {
			if r, err := l.probeWithin(ctx, 3*probeTimeout, from.machine(), "tcp", to); err == nil {
				names[i] = r.name
			}
		})
	}
	wg.Wait()
	counts := map[string]int{}
	for _, n := range names {
		counts[n]++
	}
	return counts
}
