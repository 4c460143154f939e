package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/tierloom/tierloom/cni"
	"github.com/tierloom/tierloom/cni/link"
	"github.com/tierloom/tierloom/examples/internal/cluster"
	"github.com/tierloom/tierloom/examples/internal/proc"
)

// A source is a cluster that the test writes.
type source struct{ cache *cluster.Cache }

func (s source) Cache() *cluster.Cache { return s.cache }

func (s source) Run(ctx context.Context, synced func(), _ func(cluster.Ref)) error {
	synced()
	<-ctx.Done()
	return nil
}

func newAgent(runDir string) (*Agent, source) {
	s := source{cluster.NewCache()}
	return New(Config{
		Node: "n1", RunDir: runDir, Bridge: "br-int", DatapathType: "netdev", Uplink: "eth1",
		Source: s, Log: slog.New(slog.DiscardHandler), Health: proc.NewHealth(),
	}), s
}

// put gives the cluster a pod, and tells the agent.
func (s source) put(a *Agent, name, uid string, annotations map[string]string) {
	ref := cluster.Ref{Kind: cluster.KindPod, Namespace: "a", Name: name}
	s.cache.Set(ref, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: name, UID: types.UID(uid), Annotations: annotations}})
	a.clusterChanged(ref)
}

func cifOf(uid string, vlan uint16) cluster.CIF {
	return cluster.CIF{
		UID: uid, MAC: fmt.Sprintf("02:00:00:00:00:%02x", vlan), VLAN: vlan, MTU: 1450,
		Addresses: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 4, 0, byte(vlan)}), 24)},
		Gateways:  []netip.Addr{netip.MustParseAddr("10.4.0.1")},
	}
}

func ready(c cluster.CIF) map[string]string {
	return map[string]string{cluster.AnnotationCIF: c.Annotation()}
}

func request(container, name, uid string) *cni.Request {
	return &cni.Request{ContainerID: container, IfName: "eth0", Pod: cni.Pod{Namespace: "a", Name: name, UID: uid}}
}

// code is that of a CNI error, 0 for none.
func code(t *testing.T, err error) cni.Code {
	t.Helper()
	if err == nil {
		return 0
	}
	var e *cni.Error
	require.ErrorAs(t, err, &e)
	return e.Code
}

// What ADD says when it cannot go on: which code, why, and after how long.
func TestAdd_Refusals(t *testing.T) {
	broken := cifOf("u1", 7)
	broken.Gateways = nil
	for _, c := range []struct {
		name   string
		pod    func(a *Agent, s source)
		req    *cni.Request
		code   cni.Code
		want   string
		atOnce bool
	}{
		{"no name", nil, request("c1", "", ""), cni.CodeInvalidEnvironment, "K8S_POD_NAME", true},
		{"no pod", nil, request("c1", "p", "u1"), cni.CodeTryAgainLater, "pod a/p (UID u1): no such pod", false},
		{"not ready", func(a *Agent, s source) { s.put(a, "p", "u1", nil) }, request("c1", "p", "u1"), cni.CodeTryAgainLater, "its network is not ready yet", false},
		{"ncp says why", func(a *Agent, s source) {
			s.put(a, "p", "u1", map[string]string{cluster.AnnotationError: "no subnet left"})
		},
			request("c1", "p", "u1"), cni.CodeTryAgainLater, "no subnet left", false},
		{"another pod of the name", func(a *Agent, s source) { s.put(a, "p", "u2", ready(cifOf("u2", 7))) },
			request("c1", "p", "u1"), cni.CodeTryAgainLater, "has UID u2", false},
		{"annotation of another", func(a *Agent, s source) { s.put(a, "p", "u1", ready(cifOf("u0", 7))) },
			request("c1", "p", "u1"), cni.CodeTryAgainLater, "its network is not ready yet", false},
		{"not JSON", func(a *Agent, s source) { s.put(a, "p", "u1", map[string]string{cluster.AnnotationCIF: "{"}) },
			request("c1", "p", "u1"), cni.CodeDecodingFailure, "pod a/p: annotation ncp/cif", true},
		{"fewer gateways than addresses", func(a *Agent, s source) { s.put(a, "p", "u1", ready(broken)) },
			request("c1", "p", "u1"), cni.CodeDecodingFailure, "1 ips and 0 gateways", true},
		{"no switch", func(a *Agent, s source) { s.put(a, "p", "u1", ready(cifOf("u1", 7))) },
			request("c1", "p", "u1"), cni.CodeTryAgainLater, "node n1: Open vSwitch is not connected", false},
	} {
		synctest.Test(t, func(t *testing.T) {
			a, s := newAgent("")
			if c.pod != nil {
				c.pod(a, s)
			}
			started := time.Now()
			_, err := a.add(t.Context(), c.req)
			require.Equal(t, c.code, code(t, err), "%s: %v", c.name, err)
			require.ErrorContains(t, err, c.want, c.name)
			waited := addTimeout
			if c.atOnce {
				waited = 0
			}
			require.Equal(t, waited, time.Since(started), c.name)
		})
	}
}

// ADD waits for the annotation, and takes it when it comes.
func TestCIF_Waits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, s := newAgent("")
		go func() {
			for _, annotations := range []map[string]string{nil, {cluster.AnnotationError: "wait"}, ready(cifOf("u0", 7)), ready(cifOf("u1", 8))} {
				time.Sleep(time.Second)
				s.put(a, "p", "u1", annotations)
			}
		}()
		started := time.Now()
		cif, err := a.cif(t.Context(), cni.Pod{Namespace: "a", Name: "p", UID: "u1"})
		require.NoError(t, err)
		require.EqualValues(t, 8, cif.VLAN)
		require.Equal(t, 4*time.Second, time.Since(started))
		cif, err = a.cif(t.Context(), cni.Pod{Namespace: "a", Name: "p"})
		require.NoError(t, err, "a runtime that tells no UID")
		require.EqualValues(t, 8, cif.VLAN)
	})
}

func TestStatus(t *testing.T) {
	a, _ := newAgent("")
	_, err := a.status(t.Context(), nil)
	require.Equal(t, cni.CodeNotAvailable, code(t, err))
	require.ErrorContains(t, err, "Open vSwitch is not connected")
	a.use(&session{})
	_, err = a.status(t.Context(), nil)
	require.Equal(t, cni.CodeNotAvailable, code(t, err))
	require.ErrorContains(t, err, "cluster has not been listed")
	a.clusterSynced()
	_, err = a.status(t.Context(), nil)
	require.NoError(t, err)
	a.use(nil)
	_, err = a.status(t.Context(), nil)
	require.Equal(t, cni.CodeNotAvailable, code(t, err))
}

func TestWithoutSwitch(t *testing.T) {
	a, _ := newAgent("")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, command := range map[string]func(context.Context, *cni.Request) (*cni.Result, error){"DEL": a.del, "CHECK": a.check, "GC": a.gc} {
		_, err := command(ctx, request("c1", "p", "u1"))
		require.Equal(t, cni.CodeTryAgainLater, code(t, err), name)
	}
}

func TestLinkSpec(t *testing.T) {
	r := request("c1", "p", "u1")
	r.NetNS = "/run/netns/x"
	both := cifOf("u1", 7)
	both.Addresses = append(both.Addresses, netip.MustParsePrefix("fd00::7/64"))
	both.Gateways = append(both.Gateways, netip.MustParseAddr("fd00::1"))
	spec, err := linkSpec(r, both)
	require.NoError(t, err)
	require.NoError(t, spec.Validate())
	require.Equal(t, both.Gateways[0], spec.Gateway)
	require.Equal(t, []link.Route{{Dst: netip.MustParsePrefix("::/0"), Via: both.Gateways[1]}}, spec.Routes)
	require.Equal(t, both.Addresses, spec.Addresses)
	require.Equal(t, "02:00:00:00:00:07", spec.MAC.String())
	require.Equal(t, 1450, spec.MTU)
	require.True(t, strings.HasPrefix(spec.HostIfName, vethPrefix) && len(spec.HostIfName) <= 15, spec.HostIfName)
	other, err := linkSpec(request("c2", "p", "u1"), both)
	require.NoError(t, err)
	require.NotEqual(t, spec.HostIfName, other.HostIfName, "another sandbox, another interface")

	res := result(r, spec, link.Attached{MAC: spec.MAC, HostMAC: spec.MAC, MTU: 1450}, both)
	require.Len(t, res.IPs, 2)
	require.Equal(t, "0.0.0.0/0 ::/0", res.Routes[0].Dst.String()+" "+res.Routes[1].Dst.String())
	require.Equal(t, r.NetNS, res.Interfaces[*res.IPs[0].Interface].Sandbox)
}

func TestLinkError(t *testing.T) {
	require.Equal(t, cni.CodeInvalidNetNS, code(t, linkError(fmt.Errorf("x: %w", link.ErrNetNS))))
	require.Equal(t, cni.CodeMismatch, code(t, linkError(fmt.Errorf("x: %w", link.ErrMismatch))))
	plain := errors.New("plain")
	require.Equal(t, plain, linkError(plain))
}
