package link_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/cni/link"
	"github.com/tierloom/tierloom/ovs/ovstest"
)

// rig is a node and a sandbox, each a namespace.
type rig struct {
	t         *testing.T
	node, pod string
	host      link.Host
	spec      link.Spec
}

func newRig(t *testing.T) *rig {
	ovstest.Require(t, "root")
	r := &rig{t: t, node: ovstest.NewNS(t), pod: ovstest.NewNS(t)}
	ovstest.Run(t, r.pod, "ip", "link", "set", "lo", "down")
	r.host = link.Host{NetNS: ovstest.NSPath(r.node)}
	r.spec = link.Spec{
		NetNS: ovstest.NSPath(r.pod), IfName: "eth0", HostIfName: link.HostName("tl", "c1", "eth0"),
		MAC:       net.HardwareAddr{2, 0x50, 0x56, 0, 0, 1},
		Addresses: []netip.Prefix{pfx("10.4.1.5/24"), pfx("fd00:4::5/64")},
		Gateway:   netip.MustParseAddr("10.4.1.1"),
		Routes:    []link.Route{{Dst: pfx("::/0"), Via: netip.MustParseAddr("fd00:4::1")}},
		MTU:       1400,
	}
	return r
}

func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func (r *rig) attach() link.Attached {
	r.t.Helper()
	a, err := r.host.Attach(r.t.Context(), r.spec)
	require.NoError(r.t, err)
	require.NoError(r.t, r.host.Check(r.t.Context(), r.spec))
	list, err := r.host.List(r.t.Context(), "tl")
	require.NoError(r.t, err)
	require.Len(r.t, list, 1, "one port only")
	require.Equal(r.t, r.spec.HostIfName, list[0].Name)
	require.True(r.t, list[0].Up)
	return a
}

func (r *rig) inPod(argv ...string) string  { return ovstest.Run(r.t, r.pod, argv...) }
func (r *rig) inNode(argv ...string) string { return ovstest.Run(r.t, r.node, argv...) }

// TestAttach is R4: the sandbox has the chosen IP, MAC, MTU and default route.
func TestAttach(t *testing.T) {
	r := newRig(t)
	a := r.attach()
	require.True(t, a.Changed)
	require.Equal(t, r.spec.MAC, a.MAC)
	require.Equal(t, 1400, a.MTU)
	require.Positive(t, a.HostIndex)

	eth0 := r.inPod("ip", "addr", "show", "eth0")
	for _, want := range []string{"mtu 1400", "link/ether 02:50:56:00:00:01", "inet 10.4.1.5/24", "inet6 fd00:4::5/64", ",UP"} {
		require.Contains(t, eth0, want)
	}
	require.NotContains(t, eth0, "fd00:4::5/64 scope global tentative", "usable at once")
	require.Contains(t, r.inPod("ip", "route"), "default via 10.4.1.1 dev eth0")
	require.Contains(t, r.inPod("ip", "-6", "route"), "default via fd00:4::1 dev eth0")
	require.Contains(t, r.inPod("ip", "link", "show", "lo"), ",UP")
	require.NotContains(t, r.inNode("ip", "route"), "10.4.1", "R37: the node has no pod route")
	require.NotContains(t, r.inNode("ip", "addr"), "fe80", "the node does not speak on the port")

	require.False(t, r.attach().Changed, "a second attach changes nothing")
}

func TestAttachOffload(t *testing.T) {
	ovstest.Require(t, "ethtool")
	r := newRig(t)
	r.attach()
	for _, out := range []string{r.inPod("ethtool", "-k", "eth0"), r.inNode("ethtool", "-k", r.spec.HostIfName)} {
		require.Contains(t, out, "tx-checksumming: off")
		require.Contains(t, out, "tx-tcp-segmentation: off")
	}
}

// TestAttachConverges is R5: whatever a killed agent left, one port results.
func TestAttachConverges(t *testing.T) {
	ovstest.Require(t, "ethtool")
	for name, prepare := range map[string]func(r *rig){
		"bare pair": func(r *rig) {
			r.inNode("ip", "link", "add", r.spec.HostIfName, "type", "veth", "peer", "name", "eth0", "netns", r.pod)
		},
		"address missing": func(r *rig) { r.attach(); r.inPod("ip", "addr", "del", "10.4.1.5/24", "dev", "eth0") },
		"address too many": func(r *rig) {
			r.attach()
			r.inPod("ip", "addr", "add", "10.9.9.9/32", "dev", "eth0")
		},
		"old primary address": func(r *rig) {
			r.inNode("ip", "link", "add", r.spec.HostIfName, "type", "veth", "peer", "name", "eth0", "netns", r.pod)
			r.inPod("ip", "addr", "add", "10.4.1.9/24", "dev", "eth0")
			r.inPod("ip", "addr", "add", "10.4.1.5/24", "dev", "eth0")
		},
		"other gateway": func(r *rig) {
			old := r.spec
			r.spec.Gateway = netip.MustParseAddr("10.4.1.254")
			r.attach()
			r.spec = old
		},
		"route missing": func(r *rig) { r.attach(); r.inPod("ip", "route", "del", "default") },
		"sandbox down":  func(r *rig) { r.attach(); r.inPod("ip", "link", "set", "eth0", "down") },
		"host down":     func(r *rig) { r.attach(); r.inNode("ip", "link", "set", r.spec.HostIfName, "down") },
		"other MTU":     func(r *rig) { r.attach(); r.inPod("ip", "link", "set", "eth0", "mtu", "1300") },
		"other MAC":     func(r *rig) { r.attach(); r.inPod("ip", "link", "set", "eth0", "address", "02:00:00:00:00:99") },
		"offload on":    func(r *rig) { r.attach(); r.inPod("ethtool", "-K", "eth0", "tx", "on") },
		"IPv6 disabled": func(r *rig) { r.inPod("sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1") },
		"loopback down": func(r *rig) { r.attach(); r.inPod("ip", "link", "set", "lo", "down") },
		"sandbox end renamed": func(r *rig) {
			r.attach()
			r.inPod("ip", "link", "set", "eth0", "down")
			r.inPod("ip", "link", "set", "eth0", "name", "eth7")
		},
		"leads to another sandbox": func(r *rig) {
			r.inNode("ip", "link", "add", r.spec.HostIfName, "type", "veth", "peer", "name", "eth0", "netns", ovstest.NewNS(r.t))
		},
		"leads to the node itself": func(r *rig) {
			r.inNode("ip", "link", "add", r.spec.HostIfName, "type", "veth", "peer", "name", "x0")
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			prepare(r)
			require.Error(t, r.host.Check(t.Context(), r.spec), "the preparation makes a difference")
			require.True(t, r.attach().Changed)
			require.False(t, r.attach().Changed)
		})
	}
}

// TestAttachSameIndices builds the one case where indices alone would lie: the
// ends of two pairs name each other's index, but live in other namespaces.
func TestAttachSameIndices(t *testing.T) {
	r := newRig(t)
	other := newRig(t)
	r.inNode("ip", "link", "add", r.spec.HostIfName, "index", "77", "type", "veth", "peer", "name", "eth0", "index", "55", "netns", other.pod)
	other.inNode("ip", "link", "add", "q0", "index", "77", "type", "veth", "peer", "name", "eth0", "index", "55", "netns", r.pod)
	_, err := r.host.Attach(t.Context(), r.spec)
	require.ErrorIs(t, err, link.ErrForeign)
}

func TestAttachForeign(t *testing.T) {
	r := newRig(t)
	r.inPod("ip", "link", "add", "eth0", "type", "bridge")
	_, err := r.host.Attach(t.Context(), r.spec)
	require.ErrorIs(t, err, link.ErrForeign)
	require.Contains(t, r.inPod("ip", "-d", "link", "show", "eth0"), "bridge", "it was not touched")
	r.inPod("ip", "link", "del", "eth0")

	r.inNode("ip", "link", "add", r.spec.HostIfName, "type", "bridge")
	_, err = r.host.Attach(t.Context(), r.spec)
	require.ErrorIs(t, err, link.ErrForeign)
	require.ErrorIs(t, r.host.Detach(t.Context(), r.spec.HostIfName), link.ErrForeign)
}

// TestDetach is R4: DEL twice succeeds, with and without the sandbox.
func TestDetach(t *testing.T) {
	r := newRig(t)
	r.attach()
	for range 2 {
		require.NoError(t, r.host.Detach(t.Context(), r.spec.HostIfName))
	}
	require.ErrorIs(t, r.host.Check(t.Context(), r.spec), link.ErrMismatch)
	require.NotContains(t, r.inPod("ip", "link"), "eth0")

	r.attach()
	require.NoError(t, ovstest.DeleteNS(t.Context(), r.pod))
	require.NoError(t, r.host.Detach(t.Context(), r.spec.HostIfName))
	list, err := r.host.List(t.Context(), "tl")
	require.NoError(t, err)
	require.Empty(t, list)
}

func TestNoNetNS(t *testing.T) {
	r := newRig(t)
	plain := t.TempDir() + "/netns"
	require.NoError(t, os.WriteFile(plain, nil, 0o600))
	for _, path := range []string{"/nonexistent/ns", plain, r.host.NetNS, "/proc/self/ns/mnt"} {
		s := r.spec
		s.NetNS = path
		_, err := r.host.Attach(t.Context(), s)
		require.ErrorIs(t, err, link.ErrNetNS, path)
		require.ErrorIs(t, r.host.Check(t.Context(), s), link.ErrNetNS, path)
	}
	s := r.spec
	s.NetNS = "/proc/self/ns/net"
	_, err := link.Attach(t.Context(), s)
	require.ErrorIs(t, err, link.ErrNetNS, "the caller's own namespace")

	_, err = link.Host{NetNS: "/nonexistent"}.Attach(t.Context(), r.spec)
	require.Error(t, err)
	require.NotErrorIs(t, err, link.ErrNetNS, "a missing host is no missing sandbox")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = r.host.Attach(ctx, r.spec)
	require.ErrorIs(t, err, context.Canceled)
	r.attach()
}

// TestThreads attaches many sandboxes at once and then looks at the
// namespace of every thread of the process.
func TestThreads(t *testing.T) {
	r := newRig(t)
	var wg sync.WaitGroup
	for i := range 8 {
		s := r.spec
		s.NetNS, s.HostIfName = ovstest.NSPath(ovstest.NewNS(t)), link.HostName("tl", fmt.Sprint(i), "eth0")
		wg.Go(func() {
			for range 3 {
				_, err := r.host.Attach(t.Context(), s)
				if err == nil {
					err = r.host.Check(t.Context(), s)
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	home, err := os.Readlink("/proc/self/ns/net")
	require.NoError(t, err)
	tasks, err := os.ReadDir("/proc/self/task")
	require.NoError(t, err)
	for _, task := range tasks {
		ns, err := os.Readlink("/proc/self/task/" + task.Name() + "/ns/net")
		if err == nil { // the thread may have ended
			require.Equal(t, home, ns, "thread %s", task.Name())
		}
	}
	list, err := r.host.List(t.Context(), "tl")
	require.NoError(t, err)
	require.Len(t, list, 8)
	for _, l := range list {
		require.True(t, strings.HasPrefix(l.Name, "tl"))
		require.NoError(t, r.host.Detach(t.Context(), l.Name))
	}
}
