package lab

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"

	"github.com/tierloom/tierloom/examples/internal/child"
	"github.com/tierloom/tierloom/examples/internal/cluster"
	"github.com/tierloom/tierloom/ovs/ovstest"
	"github.com/tierloom/tierloom/policy/policyovs"
)

// spoofguardTable is where hosts drop forged packets.
var spoofguardTable = policyovs.DefaultLayout().Spoofguard

// conntrack returns the connections of a machine's switch.
func (l *Lab) conntrack(machine string) string {
	out, err := ovstest.Exec(context.Background(), "", "ovs-appctl", "-t", filepath.Join(l.runDir(machine), "ovs-vswitchd.ctl"), "dpctl/dump-conntrack")
	if err != nil {
		return err.Error()
	}
	return out
}

// checkNorthSouth looks from outside: who is seen by which address, and what
// gets in.
func (l *Lab) checkNorthSouth(ctx context.Context) error {
	const group = "north-south"
	server := &child.Process{
		Name: "external server", NetNS: l.nsPath("ext"), Log: filepath.Join(l.dir, "log", "external.log"),
		Argv: []string{filepath.Join(l.cfg.Bin, "lab"), "workload", "--name", "external", "--tcp", "80", "--udp", "53"},
	}
	if err := server.Start(); err != nil {
		return err
	}
	l.undo.push(server.Stop)
	to := netip.AddrPortFrom(external.Addr(), 80)
	seen := func(p *pod) netip.Addr {
		r, err := l.probe(ctx, p.machine(), "tcp", to)
		if err != nil {
			return netip.Addr{}
		}
		return r.peer.Addr()
	}
	bySpace := map[string][]netip.Addr{}
	l.comes(ctx, group, "pods reach the external server", func() (bool, string) {
		clear(bySpace)
		for _, p := range l.podList(func(p *pod) bool { return p.labels["app"] != "redis" }) {
			a := seen(p)
			if !a.IsValid() {
				return false, p.String() + " gets no answer"
			}
			if p.namespace == "billing" {
				continue
			}
			if !slices.Contains(bySpace[p.namespace], a) {
				bySpace[p.namespace] = append(bySpace[p.namespace], a)
			}
		}
		return true, ""
	})
	dev, prod := bySpace["development"], bySpace["production"]
	l.holds(group, "each NAT namespace has one SNAT address of its own from the pool", "1 and 1, different",
		len(dev) == 1 && len(prod) == 1 && dev[0] != prod[0] && poolSNAT.Contains(dev[0]) && poolSNAT.Contains(prod[0]), "development %v, production %v", dev, prod)
	for _, p := range l.podList(inNamespace("billing")) {
		l.equal(group, "no SNAT for "+p.String(), p.ip, seen(p))
	}
	var vip string
	l.comes(ctx, group, "the LoadBalancer service gets an address", func() (bool, string) {
		s, err := l.readStatus(cluster.Ref{Kind: cluster.KindService, Namespace: "production", Name: "guestbook"})
		vip = s.LoadBalancer
		return vip != "", errText(err)
	})
	addr, err := netip.ParseAddr(vip)
	if err != nil {
		return err
	}
	counts := map[string]int{}
	for range 30 {
		if r, err := l.probe(ctx, "ext", "tcp", netip.AddrPortFrom(addr, 80)); err == nil {
			counts[r.name]++
		}
	}
	l.holds(group, "the LoadBalancer address answers from outside", "30 answers from 3 endpoints", len(counts) == 3 && sum(counts) == 30, "%v at %s", counts, addr)
	routed, hidden := l.pod("billing/ledger-1"), l.pod("development/web-1")
	r, err := l.probe(ctx, "ext", "tcp", netip.AddrPortFrom(routed.ip, 80))
	l.equal(group, "a routed pod is reached directly, and sees who asks", external.Addr(), fmt.Sprint(r.peer.Addr(), errText(err)))
	c, err := l.capture(hidden.machine(), "eth0")
	if err != nil {
		return err
	}
	_, probeErr := l.probeWithin(ctx, probeTimeout, "ext", "tcp", netip.AddrPortFrom(hidden.ip, 80))
	arrived := 0
	for _, raw := range c.stop() {
		if decode(raw).srcIP == external.Addr() {
			arrived++
		}
	}
	l.holds(group, "an unsolicited connection to a NAT pod does not arrive", "no answer, 0 packets at the pod", probeErr != nil && arrived == 0, "answer %v, %d packets", probeErr == nil, arrived)
	return nil
}

func sum(m map[string]int) int {
	n := 0
	for _, v := range m {
		n += v
	}
	return n
}
