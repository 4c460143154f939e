package policytest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tierloom/tierloom/ovs/ovstest"
)

// pods in a lab: the members of a world.
const pods = 7

// A Lab is some pods around a namespace that forwards between them.
type Lab struct {
	NetNS string // where the backend enforces
	Pods  []Pod
}

// A Pod is a namespace with one interface, which has two addresses and knows
// the hardware address of each other pod (or, if Routed, of the way there).
type Pod struct {
	ID        string // of the member
	NetNS     string
	Interface string // the other end, in the lab's NetNS
	MAC       [6]byte
	IPs       []netip.Addr // one IPv4, one IPv6

	tasks chan func()
}

// NewLab makes the namespaces, which go when the test ends.
func NewLab(t testing.TB, routed bool) *Lab {
	ovstest.Require(t, "root")
	lab := &Lab{NetNS: ovstest.NewNS(t)}
	for i := range pods {
		p := Pod{ID: fmt.Sprintf("m%d", i), NetNS: ovstest.NewNS(t), Interface: fmt.Sprintf("pod%d", i), MAC: [6]byte{2, 0, 0, 0, 1, byte(i + 1)},
			IPs: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)}), netip.AddrFrom16([16]byte{0: 0xfd, 15: byte(i + 1)})}}
		ovstest.Veth(t, lab.NetNS, p.Interface, p.NetNS, "eth0")
		lab.Pods = append(lab.Pods, p)
	}
	batch(t, lab.NetNS, lab.wiring(routed))
	for i := range lab.Pods {
		batch(t, lab.Pods[i].NetNS, lab.addresses(i, routed))
		lab.Pods[i].work(t)
	}
	sysctl := map[string]string{"/proc/sys/net/ipv4/ping_group_range": "0 2147483647"}
	for i := range lab.Pods {
		set(t, &lab.Pods[i], sysctl)
	}
	if routed {
		require(t, ovstest.InNS(lab.NetNS, func() error {
			return errors.Join(os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644),
				os.WriteFile("/proc/sys/net/ipv6/conf/all/forwarding", []byte("1"), 0o644),
				os.WriteFile("/proc/sys/net/ipv4/conf/all/send_redirects", []byte("0"), 0o644))
		}))
	}
	return lab
}

// gateway is the hardware address of the lab's end of pod i, if it routes.
func gateway(i int) string { return fmt.Sprintf("02:00:00:00:02:%02x", i+1) }

func (p Pod) mac() string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", p.MAC[0], p.MAC[1], p.MAC[2], p.MAC[3], p.MAC[4], p.MAC[5])
}

// wiring is what the lab's namespace has to be told, for "ip -batch".
func (l *Lab) wiring(routed bool) []string {
	if !routed {
		return nil
	}
	var out []string
	for i, p := range l.Pods {
		out = append(out, fmt.Sprintf("link set %s address %s", p.Interface, gateway(i)))
		for _, a := range p.IPs {
			out = append(out, fmt.Sprintf("route add %s/%d dev %s", a, a.BitLen(), p.Interface),
				fmt.Sprintf("neigh replace %s lladdr %s dev %s nud permanent", a, p.mac(), p.Interface))
		}
	}
	// The way back of ICMP errors: an address to send them from.
	return append(out, "addr add 10.0.0.254/32 dev lo", "addr add fd00::fe/128 dev lo nodad")
}

// addresses is what a pod has to be told.
func (l *Lab) addresses(i int, routed bool) []string {
	p := l.Pods[i]
	out := []string{"link set eth0 address " + p.mac(), fmt.Sprintf("addr add %s/24 dev eth0", p.IPs[0]), fmt.Sprintf("addr add %s/64 dev eth0 nodad", p.IPs[1])}
	for j, other := range l.Pods {
		lladdr := other.mac()
		if routed {
			lladdr = gateway(i)
		}
		for _, a := range other.IPs {
			if j != i {
				out = append(out, fmt.Sprintf("neigh replace %s lladdr %s dev eth0 nud permanent", a, lladdr))
			}
		}
	}
	return out
}

// batch runs commands of ip(8) in a namespace.
func batch(t testing.TB, ns string, lines []string) {
	t.Helper()
	file := t.TempDir() + "/batch"
	require(t, os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600))
	ovstest.Run(t, ns, "ip", "-batch", file)
}

func set(t testing.TB, p *Pod, values map[string]string) {
	t.Helper()
	require(t, p.do(func() error {
		var errs []error
		for path, value := range values {
			errs = append(errs, os.WriteFile(path, []byte(value), 0o644))
		}
		return errors.Join(errs...)
	}))
}

func require(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// work keeps a thread in the pod's namespace until the test ends.
func (p *Pod) work(t testing.TB) {
	p.tasks = make(chan func())
	started, ended := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(ended)
		if err := ovstest.InNS(p.NetNS, func() error {
			started <- nil
			for task := range p.tasks {
				task()
			}
			return nil
		}); err != nil {
			started <- err
		}
	}()
	require(t, <-started)
	t.Cleanup(func() { close(p.tasks); <-ended })
}

// do calls fn on the thread in the pod's namespace.
func (p *Pod) do(fn func() error) error {
	done := make(chan error)
	p.tasks <- func() { done <- fn() }
	return <-done
}

// socket opens a socket in the pod's namespace, which does not block.
func (p *Pod) socket(kind, proto int, v4 bool) (fd int, err error) {
	domain := unix.AF_INET6
	if v4 {
		domain = unix.AF_INET
	}
	err = p.do(func() error {
		fd, err = unix.Socket(domain, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, proto)
		return err
	})
	return fd, err
}

func sockaddr(a netip.Addr, port uint16) unix.Sockaddr {
	if a.Is4() {
		return &unix.SockaddrInet4{Addr: a.As4(), Port: int(port)}
	}
	return &unix.SockaddrInet6{Addr: a.As16(), Port: int(port)}
}

// pin keeps the calling goroutine on one thread and one processor, so that packets
// that it sends stay in order.
func pin() (release func()) {
	runtime.LockOSThread()
	var before, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err == nil {
		for i := range len(before) * 64 {
			if before.IsSet(i) {
				one.Set(i)
				break
			}
		}
		_ = unix.SchedSetaffinity(0, &one)
	}
	return func() {
		_ = unix.SchedSetaffinity(0, &before)
		runtime.UnlockOSThread()
	}
}

// payload is what a datagram carries: its flow and number.
func payload(flow, seq uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, flow), seq)
}
