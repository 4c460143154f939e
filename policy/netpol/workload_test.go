package netpol_test

import (
	"fmt"
	"net/netip"
	"runtime"
	"runtime/debug"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/tierloom/tierloom/policy"
	"github.com/tierloom/tierloom/policy/netpol"
)

// A workload is the objects of a cluster, as an API client has decoded them.
type workload struct {
	namespaces []*corev1.Namespace
	pods       []*corev1.Pod
	policies   []*networkingv1.NetworkPolicy
	// want is what comes of it: the rules that apply to all ports together.
	want int
}

func (w *workload) namespace(name string, labels map[string]string) {
	if labels == nil {
		labels = map[string]string{}
	}
	labels["kubernetes.io/metadata.name"] = name
	w.namespaces = append(w.namespaces, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("ns-" + name), Labels: labels}})
}

func (w *workload) pod(ns string, labels map[string]string) {
	n := len(w.pods) + 1
	w.pods = append(w.pods, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: fmt.Sprint("pod-", n), UID: types.UID(fmt.Sprintf("%08x-0000-4000-8000-%012x", n, n)), Labels: labels},
		Status:     corev1.PodStatus{PodIPs: []corev1.PodIP{{IP: netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}).String()}}},
	})
}

// policy selects pods, and allows them ingress from peers, or from nobody.
func (w *workload) policy(ns string, pods map[string]string, from ...networkingv1.NetworkPolicyPeer) {
	n := len(w.policies) + 1
	p := &networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: fmt.Sprint("policy-", n), UID: types.UID(fmt.Sprintf("%08x-1111-4000-8000-%012x", n, n))},
		Spec:       networkingv1.NetworkPolicySpec{PodSelector: metav1.LabelSelector{MatchLabels: pods}, PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}},
	}
	if len(from) > 0 {
		p.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{From: from}}
	}
	w.policies = append(w.policies, p)
}

func label(k, v string) map[string]string { return map[string]string{k: v} }

func fromPods(l map[string]string) networkingv1.NetworkPolicyPeer {
	return networkingv1.NetworkPolicyPeer{PodSelector: &metav1.LabelSelector{MatchLabels: l}}
}

func fromNamespaces(l map[string]string) networkingv1.NetworkPolicyPeer {
	return networkingv1.NetworkPolicyPeer{NamespaceSelector: &metav1.LabelSelector{MatchLabels: l}}
}

// smallNamespaces are n namespaces, each with two apps of two pods, a default
// deny, and a policy for each app that allows it from itself.
func smallNamespaces(n int) *workload {
	w := &workload{want: n * 4 * 3}
	for i := range n {
		ns := fmt.Sprint("small-", i)
		w.namespace(ns, nil)
		w.policy(ns, nil)
		for _, app := range []string{"app-1", "app-2"} {
			w.pod(ns, label("app", app))
			w.pod(ns, label("app", app))
			w.policy(ns, label("app", app), fromPods(label("app", app)))
		}
	}
	return w
}

// largeNamespaces are n namespaces, each with 100 apps of 10 pods, a default
// deny, and a policy for each app that allows it from itself.
func largeNamespaces(n int) *workload {
	w := &workload{want: n * 1000 * 3}
	for i := range n {
		ns := fmt.Sprint("large-", i)
		w.namespace(ns, nil)
		w.policy(ns, nil)
		for j := range 100 {
			app := label("app", fmt.Sprint("app-", j))
			for range 10 {
				w.pod(ns, app)
			}
			w.policy(ns, app, fromPods(app))
		}
	}
	return w
}

// oneLabel is n pods with one label, and n policies that each select it and
// allow from it.
func oneLabel(n int) *workload {
	w := &workload{want: n * n * 2}
	w.namespace("one", nil)
	for range n {
		w.pod("one", label("app", "web"))
		w.policy("one", label("app", "web"), fromPods(label("app", "web")))
	}
	return w
}

// policyPerPod is n pods with labels of their own, and n policies that each
// select one and allow from the next.
func policyPerPod(n int) *workload {
	w := &workload{want: n * 2}
	w.namespace("each", nil)
	for i := range n {
		w.pod("each", label("pod", fmt.Sprint("p-", i)))
		w.policy("each", label("pod", fmt.Sprint("p-", i)), fromPods(label("pod", fmt.Sprint("p-", (i+1)%n))))
	}
	return w
}

// acrossNamespaces is n namespaces, each with one of 100 labels, 100 pods in 10
// apps, and 10 policies, each for one app, whose peers are the namespaces of a label.
func acrossNamespaces(n int) *workload {
	w := &workload{want: n * 100 * 2}
	for i := range n {
		ns := fmt.Sprint("ns-", i)
		w.namespace(ns, label("team", fmt.Sprint("team-", i%100)))
		for j := range 100 {
			w.pod(ns, label("app", fmt.Sprint("app-", j%10)))
		}
		for j := range 10 {
			w.policy(ns, label("app", fmt.Sprint("app-", j)), fromNamespaces(label("team", fmt.Sprint("team-", (i*10+j)%100))))
		}
	}
	return w
}

// load gives an engine all objects.
func (w *workload) load(tb testing.TB, e *policy.Engine) {
	namespaces := make(map[string][]policy.Tag, len(w.namespaces))
	for _, n := range w.namespaces {
		namespaces[n.Name] = netpol.NamespaceTags(n, netpol.Config{})
	}
	c := compiler(tb)
	for _, p := range w.pods {
		m, ok := c.PodMember(p, namespaces[p.Namespace])
		if !ok {
			tb.Fatalf("%s is no member", p.Name)
		}
		if err := e.SetMember(m); err != nil {
			tb.Fatal(err)
		}
	}
	for _, p := range w.policies {
		set(tb, e, c, p)
	}
}

func compiler(tb testing.TB) *netpol.Compiler {
	c, err := netpol.NewCompiler(netpol.Config{})
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func set(tb testing.TB, e *policy.Engine, c *netpol.Compiler, p *networkingv1.NetworkPolicy) {
	groups, sections, err := c.Compile(p)
	if err != nil {
		tb.Fatal(err)
	}
	for _, g := range groups {
		if err := e.SetGroup(g); err != nil {
			tb.Fatal(err)
		}
	}
	for _, s := range sections {
		if err := e.SetSection(s); err != nil {
			tb.Fatal(err)
		}
	}
}

// check makes sure that every port's rules are known.
func (w *workload) check(tb testing.TB, e *policy.Engine) {
	n := 0
	for _, c := range e.Classes() {
		n += len(c.Ports) * len(c.Rules)
	}
	if n != w.want {
		tb.Fatalf("%d rules apply to ports, want %d", n, w.want)
	}
}

func heap() float64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// once takes the workload from decoded objects to the rules of every port.
func (w *workload) once(tb testing.TB) *policy.Engine {
	e := policy.NewEngine(policy.Config{Default: policy.Allow})
	w.load(tb, e)
	w.check(tb, e)
	return e
}

// warm has the kernel map twice the memory that the workload takes, as what it
// does then does not count.
func (w *workload) warm(tb testing.TB) {
	a, b := w.once(tb), w.once(tb)
	runtime.KeepAlive(a)
	runtime.KeepAlive(b)
}

// run does the workload again and again. MB is what the engine then holds.
func (w *workload) run(b *testing.B) {
	w.warm(b)
	before := heap()
	var e *policy.Engine
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		e = nil
		runtime.GC()
		b.StartTimer()
		e = w.once(b)
	}
	b.ReportMetric((heap()-before)/1e6, "MB")
	runtime.KeepAlive(e)
	runtime.KeepAlive(w)
}

// BenchmarkCluster has the clusters that the speed of an Engine is measured by.
func BenchmarkCluster(b *testing.B) {
	for _, c := range []struct {
		name  string
		limit float64 // ns
		make  func() *workload
	}{
		{"small-namespaces", 0.6e9, func() *workload { return smallNamespaces(25000) }},
		{"large-namespaces", 0.15e9, func() *workload { return largeNamespaces(100) }},
		{"one-label", 0.1e9, func() *workload { return oneLabel(10000) }},
		{"policy-per-pod", 0.1e9, func() *workload { return policyPerPod(10000) }},
		{"across-namespaces", 0.15e9, func() *workload { return acrossNamespaces(1000) }},
	} {
		b.Run(c.name+"/ours", func(b *testing.B) {
			c.make().run(b)
			b.ReportMetric(c.limit, "limit-ns")
		})
	}
}

// BenchmarkGrowth compares a cluster with four of a fourth of its size: the cost
// is to be linear. They are measured in turn, as other users of the machine's
// memory make it slower for a while; the median counts.
func BenchmarkGrowth(b *testing.B) {
	for range 5 {
		b.Run("four-times/ours", func(b *testing.B) {
			benchmarkTime(b, 100000)
			b.ReportMetric(4.4, "target")
		})
		b.Run("four-times/floor", func(b *testing.B) { benchmarkTime(b, 25000, 25000, 25000, 25000) })
	}
}

// benchmarkTime reports the mean time of workloads with so many namespaces.
func benchmarkTime(b *testing.B, sizes ...int) {
	var took time.Duration
	for range b.N {
		for _, n := range sizes {
			took += smallNamespaces(n).time(b)
		}
	}
	b.ReportMetric(float64(took)/float64(b.N*len(sizes)), "ns/op")
}

// time is how long the workload takes, as run measures it, but without the
// garbage collector: when that runs depends on what else the process holds.
func (w *workload) time(tb testing.TB) time.Duration {
	debug.FreeOSMemory() // at once, and not beside what is measured
	w.warm(tb)
	runtime.GC()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	start := time.Now()
	w.once(tb)
	return time.Since(start)
}

// BenchmarkChange changes one thing in a cluster whose every port's rules are
// known, with the delta of groups and of rules at ports.
func BenchmarkChange(b *testing.B) {
	for _, c := range []struct {
		name string
		make func() *workload
	}{
		{"small-namespaces", func() *workload { return smallNamespaces(25000) }},
		{"large-namespaces", func() *workload { return largeNamespaces(100) }},
	} {
		w := c.make()
		var last policy.Delta
		e := policy.NewEngine(policy.Config{Default: policy.Allow, Changed: func(d policy.Delta) { last = d }})
		w.load(b, e)
		w.check(b, e)
		ns := w.namespaces[7]
		member := func(labels map[string]string) policy.Member {
			p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: ns.Name, Name: "one", UID: "one", Labels: labels},
				Status: corev1.PodStatus{PodIPs: []corev1.PodIP{{IP: "10.250.0.1"}}}}
			m, ok := netpol.PodMember(p, ns, netpol.Config{})
			if !ok {
				b.Fatalf("%s is no member", p.Name)
			}
			return m
		}
		put := func(b *testing.B, m policy.Member) {
			if err := e.SetMember(m); err != nil {
				b.Fatal(err)
			}
		}
		one, two := member(label("app", "app-1")), member(label("app", "app-2"))
		b.Run(c.name+"/label/ours", func(b *testing.B) {
			put(b, two)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				put(b, []policy.Member{one, two}[i%2])
				if len(last.Groups) != 2 || len(last.Ports) != 1 || len(last.Ports[0].Added) != 2 || len(last.Ports[0].Removed) != 2 {
					b.Fatalf("%+v", last)
				}
			}
			b.ReportMetric(10e3, "limit-ns")
		})
		e.DeleteMember("one")
		b.Run(c.name+"/pod-added-and-removed/ours", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				put(b, one)
				if len(last.Groups) != 2 || len(last.Ports) != 1 || len(last.Ports[0].Added) != 3 {
					b.Fatalf("%+v", last)
				}
				e.DeleteMember("one")
			}
			b.ReportMetric(40e3, "limit-ns") // for both
		})
		if len(w.namespaces) > 100 {
			continue
		}
		b.Run(c.name+"/policy-for-1000-pods-added/ours", func(b *testing.B) {
			more := &workload{}
			more.policy(ns.Name, nil, fromPods(label("app", "app-1")))
			p := more.policies[0]
			p.UID = "more"
			b.ReportAllocs()
			c := compiler(b)
			for b.Loop() {
				set(b, e, c, p)
				if len(last.Ports) != 1000 {
					b.Fatalf("%d ports", len(last.Ports))
				}
				b.StopTimer()
				groups, sections, err := netpol.Compile(p, netpol.Config{})
				if err != nil {
					b.Fatal(err)
				}
				for _, s := range sections {
					e.DeleteSection(s.ID)
				}
				for _, g := range groups {
					e.DeleteGroup(g.ID)
				}
				b.StartTimer()
			}
			b.ReportMetric(1e6, "limit-ns")
		})
	}
}
