package ovstest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Vsctl runs ovs-vsctl against the Instance's database; it waits until
// ovs-vswitchd has taken the change.
func (in *Instance) Vsctl(ctx context.Context, args ...string) (string, error) {
	return Exec(ctx, in.NetNS, append([]string{"ovs-vsctl", "--db=unix:" + in.DBSock, "--timeout=20"}, args...)...)
}

// NewBridge adds a userspace bridge without flows (fail_mode=secure) that
// speaks OpenFlow 1.0 and 1.3 to 1.5, and returns once its management socket
// is there. A bridge that exists is brought into that shape.
func (in *Instance) NewBridge(ctx context.Context, name string) error {
	_, err := in.Vsctl(ctx, "--may-exist", "add-br", name, "--", "set", "bridge", name,
		"datapath_type=netdev", "fail_mode=secure", "protocols=OpenFlow10,OpenFlow13,OpenFlow14,OpenFlow15")
	if err != nil {
		return err
	}
	in.mu.Lock()
	p := in.vswitchd
	in.mu.Unlock()
	return p.waitSocket(ctx, in.Mgmt(name))
}

// NewPort adds a port to a bridge, with settings for its Interface row such as
// "type=internal" or "external_ids:iface-id=x", and returns its OpenFlow
// number. The device, if the type needs one, must be in the Instance's namespace.
func (in *Instance) NewPort(ctx context.Context, bridge, name string, settings ...string) (uint32, error) {
	args := []string{"--may-exist", "add-port", bridge, name}
	if len(settings) > 0 {
		args = append(args, "--", "set", "interface", name)
		args = append(args, settings...)
	}
	if _, err := in.Vsctl(ctx, args...); err != nil {
		return 0, err
	}
	out, err := in.Vsctl(ctx, "wait-until", "interface", name, "ofport!=[]", "--", "get", "interface", name, "ofport", "error")
	if err != nil {
		return 0, err
	}
	number, fault, _ := strings.Cut(strings.TrimSpace(out), "\n")
	n, err := strconv.ParseInt(number, 10, 32)
	if err != nil || n <= 0 {
		return 0, fmt.Errorf("ovstest: port %s on bridge %s: ofport %s: %s", name, bridge, number, fault)
	}
	return uint32(n), nil
}

// AddBridge is NewBridge for tests.
func (in *Instance) AddBridge(name string) {
	in.helper()
	ctx, cancel := in.context()
	defer cancel()
	in.check(in.NewBridge(ctx, name))
}

// AddPort is NewPort for tests.
func (in *Instance) AddPort(bridge, name string, settings ...string) uint32 {
	in.helper()
	ctx, cancel := in.context()
	defer cancel()
	n, err := in.NewPort(ctx, bridge, name, settings...)
	in.check(err)
	return n
}

// AddNS makes a network namespace with an interface named eth0, carrying the
// given addresses (address/length), whose other end, the returned host
// device, is plugged into the bridge as the returned OpenFlow port. The
// namespace is removed when the test ends.
func (in *Instance) AddNS(bridge string, addrs ...string) (ns, dev string, ofport uint32) {
	in.helper()
	ns = NewNS(in.t)
	dev = "v" + randomHex(4)
	Veth(in.t, in.NetNS, dev, ns, "eth0")
	for _, a := range addrs {
		args := []string{"ip", "addr", "add", a, "dev", "eth0"}
		if strings.Contains(a, ":") {
			args = append(args, "nodad")
		}
		Run(in.t, ns, args...)
	}
	return ns, dev, in.AddPort(bridge, dev)
}

// Ofctl runs ovs-ofctl with OpenFlow 1.5 and returns what it prints. The
// second word that is no option is the bridge's name: Ofctl("dump-flows", "br0").
func (in *Instance) Ofctl(args ...string) string {
	in.helper()
	ctx, cancel := in.context()
	defer cancel()
	argv := []string{"ovs-ofctl", "-OOpenFlow15"}
	words := 0
	for _, a := range args {
		if !strings.HasPrefix(a, "-") {
			if words++; words == 2 {
				a = in.Mgmt(a)
			}
		}
		argv = append(argv, a)
	}
	out, err := Exec(ctx, in.NetNS, argv...)
	for unheard(err) && ctx.Err() == nil {
		out, err = Exec(ctx, in.NetNS, argv...)
	}
	in.check(err)
	return out
}

// unheard reports whether the switch hung up on ovs-ofctl before it was asked for
// anything: a peer has one second to say hello, which a busy machine may take.
func unheard(err error) bool {
	if err == nil || strings.Contains(err.Error(), "(Connection refused)") { // nobody listens
		return false
	}
	return strings.Contains(err.Error(), "failed to open socket") || strings.Contains(err.Error(), "failed to connect to socket")
}

// Appctl runs ovs-appctl on ovs-vswitchd and returns what it prints.
func (in *Instance) Appctl(args ...string) string {
	in.helper()
	ctx, cancel := in.context()
	defer cancel()
	out, err := in.appctl(ctx, args...)
	in.check(err)
	return out
}

func (in *Instance) appctl(ctx context.Context, args ...string) (string, error) {
	return Exec(ctx, in.NetNS, append([]string{"ovs-appctl", "-t", in.path("ovs-vswitchd.ctl")}, args...)...)
}

// PurgeDatapath returns once the datapath has forgotten all flows that it had
// cached: packets from now on meet the flows that the bridges have. A barrier
// does not wait for that. The threads that look after the cache are paused, since
// revalidator/purge passes over what they are looking at.
func (in *Instance) PurgeDatapath(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	whole := context.WithoutCancel(ctx) // they must not stay paused
	var errs []error
	for _, how := range []string{"pause", "purge", "resume"} {
		_, err := in.appctl(whole, "revalidator/"+how)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Trace returns what ofproto/trace says of a packet, described as a flow
// ("in_port=1,tcp,nw_src=10.0.0.1"), sent into the bridge. Further arguments
// are passed on, such as "--ct-next" and "trk,new".
func (in *Instance) Trace(bridge, flow string, args ...string) string {
	in.helper()
	return in.Appctl(append([]string{"ofproto/trace", bridge, flow}, args...)...)
}

func (in *Instance) context() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), 30*time.Second)
}

func (in *Instance) helper() {
	if in.t != nil {
		in.t.Helper()
	}
}

// check fails the test. Without one the caller used a test's method outside
// tests, and gets the panic its documentation announces.
func (in *Instance) check(err error) {
	switch {
	case err == nil:
	case in.t == nil:
		panic(err)
	default:
		in.t.Helper()
		in.t.Fatal(err)
	}
}
