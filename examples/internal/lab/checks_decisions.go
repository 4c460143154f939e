package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/tierloom/tierloom/examples/internal/hostagent"
	"github.com/tierloom/tierloom/ovs/ovstest"
)

// checkDecisions looks at what rules tell: the sender, the log, and who counts.
func (l *Lab) checkDecisions(ctx context.Context) error {
	const group = "decisions"
	client, ledger, other := l.pod("development/client"), l.pod("billing/ledger-1"), l.pod("billing/ledger-2")
	for _, c := range []struct {
		to   *pod
		port uint16
	}{{ledger, 9101}, {other, 9102}} {
		began := time.Now()
		_, err := l.probe(ctx, client.machine(), "tcp", netip.AddrPortFrom(c.to.ip, c.port))
		l.holds(group, fmt.Sprintf("rejected by the name that %s gives to port %d: refused at once", c.to, c.port), "connection refused",
			errors.Is(err, syscall.ECONNREFUSED), "%v after %v", err, time.Since(began).Round(time.Millisecond))
	}
	l.equal(group, "the port that is rejected answers others", true, l.passes(ctx, other, ledger, target{6, 9101}, true))

	before, err := l.hits(ctx)
	if err != nil {
		return err
	}
	logged := func(rule, action, rest string) (int, error) {
		lines, err := l.logged("h1", "msg=packet", "action="+action, "direction=IN", "rule="+rule+rest, "src="+client.ip.String(), "dst="+ledger.ip.String())
		return len(lines), err
	}
	const allowed, dropped = 7, 5
	c, err := l.socket(client)
	if err != nil {
		return err
	}
	defer c.Close()
	// The first alone: those that come in one batch with it are logged with it.
	if err := datagrams(c, ledger, 7002, 1); err != nil {
		return err
	}
	err = l.wait(ctx, settling, "the first datagram in the log", func() (bool, string) {
		n, err := logged("allow-events", "ALLOW", "")
		return n > 0, errText(err)
	})
	if err := errors.Join(err, datagrams(c, ledger, 7002, allowed-1), datagrams(c, ledger, 7003, dropped)); err != nil {
		return err
	}
	for _, c := range []struct {
		rule string
		sent uint64
	}{{"allow-events", allowed}, {"drop-events", dropped}} {
		l.comes(ctx, group, fmt.Sprintf("%s counts the %d packets sent", c.rule, c.sent), func() (bool, string) {
			now, err := l.hits(ctx)
			n := now[c.rule] - before[c.rule]
			return err == nil && n == c.sent, fmt.Sprintf("%d counted %s", n, errText(err))
		})
	}
	for _, c := range []struct {
		rule, action, rest string
		lines              int
	}{
		{"reject-metrics", "REJECT", " label=metrics", 1}, {"allow-events", "ALLOW", "", 1}, {"drop-events", "DROP", "", dropped},
	} {
		l.comes(ctx, group, fmt.Sprintf("%s is logged (%d)", c.rule, c.lines), func() (bool, string) {
			n, err := logged(c.rule, c.action, c.rest)
			again := c.action == "REJECT" && n > c.lines // a client that is not answered within a second asks again
			return err == nil && (n == c.lines || again), fmt.Sprintf("%d lines %s", n, errText(err))
		})
	}
	return nil
}

// checkTiers tries what ClusterNetworkPolicies decide before and after NetworkPolicies.
func (l *Lab) checkTiers(ctx context.Context) error {
	for _, c := range []struct {
		name, from, to string
		t              target
		want           bool
	}{
		{"tier Admin accepts what NetworkPolicies deny", "development/client", "production/redis-leader", target{6, 6379}, true},
		{"a pod that it is not about stays denied", "development/web-1", "production/redis-leader", target{6, 6379}, false},
		{"tier Baseline denies where no NetworkPolicy decides", "development/web-1", "billing/ledger-1", target{6, 9200}, false},
		{"others pass", "billing/ledger-2", "billing/ledger-1", target{6, 9200}, true},
	} {
		l.equal("tiers", fmt.Sprintf("%s: %s -> %s %s", c.name, c.from, c.to, c.t), c.want, l.passes(ctx, l.pod(c.from), l.pod(c.to), c.t, c.want))
	}
	return nil
}

// socket opens a UDP socket in a pod.
func (l *Lab) socket(p *pod) (c net.PacketConn, err error) {
	err = ovstest.InNS(l.ns(p.machine()), func() (err error) {
		c, err = net.ListenPacket("udp4", ":0")
		return err
	})
	return c, err
}

// datagrams sends some to a port where nobody has to listen.
func datagrams(c net.PacketConn, to *pod, port uint16, n int) error {
	for range n {
		if _, err := c.WriteTo([]byte("event"), net.UDPAddrFromAddrPort(netip.AddrPortFrom(to.ip, port))); err != nil {
			return err
		}
	}
	return nil
}

// hits asks the first host's agent, as an administrator would, how many packets
// met each rule.
func (l *Lab) hits(ctx context.Context) (map[string]uint64, error) {
	out, err := ovstest.Exec(ctx, l.ns(mgr.name), filepath.Join(l.cfg.Bin, "tierloomctl"), "policy", "counters",
		"-agent", "http://"+hosts[0].mgmt.String()+":8080", "-o", "json")
	if err != nil {
		return nil, err
	}
	var s hostagent.PolicyStatus
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		return nil, err
	}
	sum := map[string]uint64{}
	for _, r := range s.Rules {
		sum[r.Rule] += r.Packets
	}
	return sum, nil
}

// logged returns the lines in the log of a host's agent that have all of some words.
func (l *Lab) logged(host string, words ...string) ([]string, error) {
	raw, err := os.ReadFile(filepath.Join(l.dir, "log", "host-agent-"+host+".log"))
	if err != nil {
		return nil, err
	}
	var out []string
	for line := range strings.Lines(string(raw)) {
		found := true
		for _, w := range words {
			found = found && strings.Contains(line, w)
		}
		if found {
			out = append(out, line)
		}
	}
	return out, nil
}
