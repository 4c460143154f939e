package kube

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/tierloom/tierloom/lb"
)

func ptr[T any](v T) *T { return &v }

func addrs(list ...string) (out []netip.Addr) {
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func service() *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "d", Name: "web"},
		Spec: corev1.ServiceSpec{
			ClusterIP: "10.96.0.1", ClusterIPs: []string{"10.96.0.1", "fd96::1"},
			Selector: map[string]string{"app": "web"},
			Ports: []corev1.ServicePort{
				{Name: "http", Port: 80, TargetPort: intstr.FromString("web"), NodePort: 30080},
				{Name: "dns", Protocol: corev1.ProtocolUDP, Port: 53, TargetPort: intstr.FromInt32(5353)},
			},
		},
	}
}

func pod(name, ip string, port int32, change ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "d", Name: name, Labels: map[string]string{"app": "web"}},
		Spec: corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Ports: []corev1.ContainerPort{
			{Name: "web", Protocol: corev1.ProtocolUDP, ContainerPort: 9}, {Name: "web", ContainerPort: port}}}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIPs: []corev1.PodIP{{IP: ip}},
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}},
	}
	for _, c := range change {
		c(p)
	}
	return p
}

func notReady(p *corev1.Pod)    { p.Status.Conditions = nil }
func terminating(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)} }
func other(p *corev1.Pod)       { p.Labels = nil }
func elsewhere(p *corev1.Pod)   { p.Namespace = "e" }
func done(p *corev1.Pod)        { p.Status.Phase = corev1.PodSucceeded }
func dual(p *corev1.Pod) {
	p.Status.PodIPs = append(p.Status.PodIPs, corev1.PodIP{IP: "fd00::1"}, corev1.PodIP{IP: "fd00::2"})
}
func noPort(p *corev1.Pod) { p.Spec.Containers = nil }
func sidecar(p *corev1.Pod) {
	p.Spec.InitContainers, p.Spec.Containers = p.Spec.Containers, nil
	p.Spec.InitContainers[0].RestartPolicy = ptr(corev1.ContainerRestartPolicyAlways)
}

func TestServiceFrom(t *testing.T) {
	full := service()
	full.Spec.Type = corev1.ServiceTypeLoadBalancer
	full.Spec.ExternalIPs = []string{"192.0.2.1", "192.0.2.2"}
	full.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.2"}, {Hostname: "x"}, {IP: "192.0.2.3"},
		{IP: "192.0.2.4", IPMode: ptr(corev1.LoadBalancerIPModeProxy)}}
	full.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
	full.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: ptr(int32(60))}}
	full.Spec.InternalTrafficPolicy = ptr(corev1.ServiceInternalTrafficPolicyLocal)
	full.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	got, err := ServiceFrom(full)
	require.NoError(t, err)
	want := lb.Service{
		ID: "d/web", Namespace: "d", Name: "web",
		VIPs: addrs("10.96.0.1", "fd96::1"), External: addrs("192.0.2.1", "192.0.2.2", "192.0.2.3"),
		Ports:    []lb.ServicePort{{Name: "http", Protocol: lb.TCP, Port: 80, NodePort: 30080}, {Name: "dns", Protocol: lb.UDP, Port: 53}},
		Affinity: time.Minute, InternalPolicy: lb.Local, ExternalPolicy: lb.Local,
	}
	require.Empty(t, cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})))
	require.NoError(t, got.Validate())

	headless := service()
	headless.Spec.ClusterIP, headless.Spec.ClusterIPs = "None", []string{"None"}
	headless.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
	got, err = ServiceFrom(headless)
	require.NoError(t, err)
	require.Empty(t, got.VIPs)
	require.Equal(t, 3*time.Hour, got.Affinity)

	bad := service()
	bad.Spec.ClusterIPs = []string{"10.96.0.300"}
	bad.Spec.Ports[0].Protocol = "ICMP"
	bad.Spec.Ports[1].Port = 70000
	got, err = ServiceFrom(bad)
	require.ErrorContains(t, err, "service d/web: spec.clusterIPs[0]")
	require.ErrorContains(t, err, `spec.ports[0]: protocol "ICMP"`)
	require.ErrorContains(t, err, "spec.ports[1]: port 70000")
	require.Empty(t, got.Ports)
}

func TestEndpointsForPods(t *testing.T) {
	publish := service()
	publish.Spec.PublishNotReadyAddresses = true
	v6 := service()
	v6.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv6Protocol}
	for _, c := range []struct {
		name string
		svc  *corev1.Service
		pods []*corev1.Pod
		want []string
	}{
		{"ready", service(), []*corev1.Pod{pod("a", "10.4.0.1", 8080), pod("b", "10.4.0.2", 9090)},
			[]string{"dns 10.4.0.1:5353 rs n1", "dns 10.4.0.2:5353 rs n1", "http 10.4.0.1:8080 rs n1", "http 10.4.0.2:9090 rs n1"}},
		{"not chosen", service(), []*corev1.Pod{pod("a", "10.4.0.1", 1, other), pod("b", "10.4.0.2", 1, elsewhere), pod("c", "10.4.0.3", 1, done)}, nil},
		{"conditions", service(), []*corev1.Pod{pod("a", "10.4.0.1", 80, notReady, noPort), pod("b", "10.4.0.2", 80, terminating, noPort)},
			[]string{"dns 10.4.0.1:5353  n1", "dns 10.4.0.2:5353 st n1"}},
		{"publish", publish, []*corev1.Pod{pod("a", "10.4.0.1", 80, notReady, noPort)}, []string{"dns 10.4.0.1:5353 rs n1"}},
		{"sidecar", service(), []*corev1.Pod{pod("a", "10.4.0.1", 80, sidecar)}, []string{"dns 10.4.0.1:5353 rs n1", "http 10.4.0.1:80 rs n1"}},
		{"dual", service(), []*corev1.Pod{pod("a", "10.4.0.1", 80, dual, noPort)}, []string{"dns 10.4.0.1:5353 rs n1", "dns [fd00::1]:5353 rs n1"}},
		{"IPv6", v6, []*corev1.Pod{pod("a", "10.4.0.1", 80, dual, noPort)}, []string{"dns [fd00::1]:5353 rs n1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			list, err := Endpoints(c.svc, c.pods)
			require.NoError(t, err)
			require.Empty(t, cmp.Diff(c.want, text(list)))
		})
	}
}

func text(list []lb.Endpoint) (out []string) {
	for _, e := range list {
		flags := ""
		for i, on := range []bool{e.Ready, e.Serving, e.Terminating} {
			if on {
				flags += string("rst"[i])
			}
		}
		out = append(out, fmt.Sprintf("%s %s %s %s", e.PortName, netip.AddrPortFrom(e.Addr, e.Port), flags, e.Node))
	}
	return out
}

func TestSlicesForManyPods(t *testing.T) {
	var pods []*corev1.Pod
	for i := range 250 {
		pods = append(pods, pod(fmt.Sprint("p", i), fmt.Sprintf("10.4.%d.%d", i/200, i%200+1), 8080))
	}
	list, err := SlicesFor(service(), pods)
	require.NoError(t, err)
	require.Len(t, list, 3)
	require.Equal(t, "web", list[0].Labels[discoveryv1.LabelServiceName])
	again, err := SlicesFor(service(), pods)
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(list, again))
	endpoints, err := EndpointsFrom(list)
	require.NoError(t, err)
	require.Len(t, endpoints, 500)
}

func TestEndpointsFrom(t *testing.T) {
	slice := func(ip string, ready *bool) *discoveryv1.EndpointSlice {
		return &discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{Namespace: "d", Name: "web-1"}, AddressType: discoveryv1.AddressTypeIPv4,
			Endpoints: []discoveryv1.Endpoint{{Addresses: []string{ip}, Conditions: discoveryv1.EndpointConditions{Ready: ready}}},
			Ports:     []discoveryv1.EndpointPort{{Port: ptr(int32(80))}, {Name: ptr("any")}},
		}
	}
	got, err := EndpointsFrom([]*discoveryv1.EndpointSlice{slice("10.4.0.1", ptr(false)), slice("10.4.0.1", nil), slice("10.4.0.2", ptr(false))})
	require.NoError(t, err)
	require.Equal(t, []string{" 10.4.0.1:80 rs ", " 10.4.0.2:80  "}, text(got))

	fqdn := slice("example.org", nil)
	fqdn.AddressType = discoveryv1.AddressTypeFQDN
	bad := slice("10.4.0.1", nil)
	bad.Ports[1].Port = ptr(int32(0))
	got, err = EndpointsFrom([]*discoveryv1.EndpointSlice{fqdn, slice("nonsense", nil), bad})
	require.ErrorContains(t, err, "endpoint slice d/web-1: endpoints[0].addresses[0]")
	require.ErrorContains(t, err, "ports[1].port: 0 is not in 1..65535")
	require.Equal(t, []string{" 10.4.0.1:80 rs "}, text(got))
}
