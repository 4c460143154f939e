package lab

import (
	"context"
	"fmt"
	"github.com/tierloom/tierloom/examples/internal/child"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"

	"github.com/tierloom/tierloom/ovs/ovsdb"
	"github.com/tierloom/tierloom/ovs/ovstest"
)

// ns returns the namespace of a machine of this run.
func (l *Lab) ns(machine string) string { return "tl" + l.id + "-" + machine }

// ip runs the ip command in a machine's namespace.
func (l *Lab) ip(ctx context.Context, machine string, args ...string) error {
	_, err := ovstest.Exec(ctx, "", append([]string{"ip", "-n", l.ns(machine)}, args...)...)
	return err
}

// newMachine makes the namespace of a machine.
func (l *Lab) newMachine(ctx context.Context, name string) error {
	ns := l.ns(name)
	if err := ovstest.CreateNS(ctx, ns); err != nil {
		return err
	}
	l.undo.push(func() error { return ovstest.DeleteNS(context.Background(), ns) })
	return nil
}

// link joins two machines with a veth pair.
func (l *Lab) link(ctx context.Context, a, devA, b, devB string) error {
	return ovstest.VethPair(ctx, l.ns(a), devA, l.ns(b), devB)
}

// addr gives a device an address and sets it up.
func (l *Lab) addr(ctx context.Context, machine, dev string, p netip.Prefix) error {
	if err := l.ip(ctx, machine, "addr", "add", p.String(), "dev", dev); err != nil {
		return err
	}
	return l.ip(ctx, machine, "link", "set", dev, "up")
}

// buildFabric makes the machines and the wires between them.
func (l *Lab) buildFabric(ctx context.Context) error {
	names := []string{"mgmt", "ul", mgr.name, edgeNode.name, "rtr", "ext"}
	for _, m := range append(append([]machine{}, hosts...), nodes...) {
		names = append(names, m.name)
	}
	for _, n := range names {
		if err := l.newMachine(ctx, n); err != nil {
			return err
		}
	}
	for _, sw := range []string{"mgmt", "ul"} {
		if err := l.ip(ctx, sw, "link", "add", "br0", "type", "bridge"); err != nil {
			return err
		}
		if err := l.ip(ctx, sw, "link", "set", "br0", "up"); err != nil {
			return err
		}
	}
	managed := append(append([]machine{mgr, edgeNode}, hosts...), nodes...)
	for _, m := range managed {
		if err := l.plug(ctx, "mgmt", m.name, "eth0"); err != nil {
			return err
		}
		if err := l.addr(ctx, m.name, "eth0", netip.PrefixFrom(m.mgmt, mgmtBits)); err != nil {
			return err
		}
	}
	for _, m := range append([]machine{edgeNode}, hosts...) {
		if err := l.plug(ctx, "ul", m.name, "ul0"); err != nil {
			return err
		}
	}
	for _, n := range nodes {
		if err := l.link(ctx, n.name, nodeUplink, n.host, vnic(n.name)); err != nil {
			return err
		}
	}
	return l.buildOutside(ctx)
}

// plug joins a machine to the bridge of a switch.
func (l *Lab) plug(ctx context.Context, sw, machine, dev string) error {
	if err := l.link(ctx, sw, "to-"+machine, machine, dev); err != nil {
		return err
	}
	return l.ip(ctx, sw, "link", "set", "to-"+machine, "master", "br0")
}

// buildOutside makes the physical router with its static routes, and the
// external machine. The route to the NAT block is there on purpose: what the
// router knows must not decide what reaches a NAT namespace.
func (l *Lab) buildOutside(ctx context.Context) error {
	if err := l.link(ctx, edgeNode.name, edgeUplink, "rtr", "edge"); err != nil {
		return err
	}
	if err := l.link(ctx, "rtr", "ext", "ext", "eth0"); err != nil {
		return err
	}
	for _, a := range []struct {
		machine, dev string
		addr         netip.Prefix
	}{
		{edgeNode.name, edgeUplink, edgeUp}, {"rtr", "edge", routerUp}, {"rtr", "ext", routerExt}, {"ext", "eth0", external},
	} {
		if err := l.addr(ctx, a.machine, a.dev, a.addr); err != nil {
			return err
		}
	}
	forward := func() error { return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644) }
	if err := ovstest.InNS(l.ns("rtr"), forward); err != nil {
		return err
	}
	for _, dst := range []netip.Prefix{poolSNAT, poolLB, blockNAT, blockRoute} {
		if err := l.ip(ctx, "rtr", "route", "add", dst.String(), "via", edgeUp.Addr().String()); err != nil {
			return err
		}
	}
	if err := l.ip(ctx, "ext", "route", "add", "default", "via", routerExt.Addr().String()); err != nil {
		return err
	}
	return l.ip(ctx, edgeNode.name, "route", "add", "default", "via", routerUp.Addr().String())
}

// startSwitches runs an Open vSwitch in each host, node and edge, and gives
// hosts and edge their underlay bridge with the TEP on its local port.
func (l *Lab) startSwitches(ctx context.Context) error {
	managed := append(append([]machine{edgeNode}, hosts...), nodes...)
	errs := make(chan error, len(managed))
	for _, m := range managed {
		go func() { errs <- l.startSwitch(ctx, m) }()
	}
	var first error
	for range managed {
		if err := <-errs; err != nil && first == nil {
			first = err
		}
	}
	return first
}

func (l *Lab) startSwitch(ctx context.Context, m machine) error {
	in, err := ovstest.NewInstance(ctx, ovstest.InstanceConfig{Name: m.name, NetNS: l.ns(m.name), RunDir: l.runDir(m.name)})
	if err != nil {
		return err
	}
	l.undo.push(in.Close)
	l.mu.Lock()
	l.switches[m.name] = in
	l.mu.Unlock()
	if !m.tep.IsValid() {
		return nil
	}
	vs, done, err := l.vswitch(ctx, m.name)
	if err != nil {
		return err
	}
	defer done()
	if err := vs.EnsureBridge(ctx, ovsdb.BridgeSpec{Name: underlayBr, DatapathType: "netdev"}); err != nil {
		return err
	}
	if _, err := vs.EnsurePort(ctx, ovsdb.PortSpec{Bridge: underlayBr, Name: "ul0"}); err != nil {
		return err
	}
	return l.addr(ctx, m.name, underlayBr, netip.PrefixFrom(m.tep, tepBits))
}

// vswitch connects to a machine's OVSDB until done is called.
func (l *Lab) vswitch(ctx context.Context, machine string) (vs *ovsdb.VSwitch, done func(), err error) {
	c, err := ovsdb.Dial(ctx, "unix", filepath.Join(l.runDir(machine), "db.sock"), ovsdb.Config{})
	if err != nil {
		return nil, nil, err
	}
	vs, err = ovsdb.NewVSwitch(ctx, c)
	if err != nil {
		c.Close()
		return nil, nil, err
	}
	return vs, func() { c.Close() }, nil
}

// plugNodes attaches each node's vNIC to its host's switch, as a hypervisor
// does: a port of the bridge with the VIF's id.
func (l *Lab) plugNodes(ctx context.Context) error {
	for _, n := range nodes {
		vs, done, err := l.vswitch(ctx, n.host)
		if err != nil {
			return err
		}
		_, err = vs.EnsurePort(ctx, ovsdb.PortSpec{
			Bridge: bridge, Name: vnic(n.name), ExternalIDs: map[string]string{"iface-id": vnic(n.name)},
		})
		done()
		if err != nil {
			return err
		}
	}
	return nil
}

// runDir is where a machine's sockets, database and state lie.
func (l *Lab) runDir(machine string) string { return filepath.Join(l.dir, machine) }

// addProcess registers a program to run on a machine, and stops it in the end.
func (l *Lab) addProcess(name, machine string, argv ...string) *child.Process {
	argv[0] = filepath.Join(l.cfg.Bin, argv[0])
	p := &child.Process{Name: name, NetNS: l.nsPath(machine), Log: filepath.Join(l.dir, "log", name+".log"), Argv: argv}
	l.undo.push(p.Stop)
	l.processes[name] = p
	return p
}

// startProcesses runs the Tierloom processes.
func (l *Lab) startProcesses(ctx context.Context) error {
	ca, err := newPKI(filepath.Join(l.dir, "pki"))
	if err != nil {
		return err
	}
	url := "https://" + managerAddr.String()
	l.pki, l.managerURL = ca, url
	if err := ca.issue("manager", managerAddr.Addr()); err != nil {
		return err
	}
	names := []string{"ncp", "tierloomctl", edgeNode.name}
	for _, m := range hosts {
		names = append(names, m.name)
	}
	for _, n := range names {
		if err := ca.issue(n); err != nil {
			return err
		}
	}
	health := func(m machine, port int) []string {
		return []string{"--health", m.mgmt.String() + ":" + strconv.Itoa(port)}
	}
	client := func(m string) []string { return append([]string{"--manager", url}, ca.flags(m)...) }
	cat := func(parts ...[]string) []string {
		var out []string
		for _, p := range parts {
			out = append(out, p...)
		}
		return out
	}
	l.addProcess("manager", mgr.name, cat([]string{"manager", "--listen", managerAddr.String(), "--data", l.runDir("mgr"), "--quarantine", quarantine},
		ca.flags("manager"), health(mgr, 8080))...)
	l.addProcess("ncp", mgr.name, cat([]string{"ncp", "--cluster", clusterName, "--manifests", l.manifests(), "--status", l.status(), "--mtu", strconv.Itoa(podMTU)},
		client("ncp"), health(mgr, 8081))...)
	for _, h := range hosts {
		l.addProcess("host-agent-"+h.name, h.name, cat([]string{"host-agent", "--host", h.name, "--run-dir", l.runDir(h.name), "--bridge", bridge, "--datapath", "netdev"},
			client(h.name), health(h, 8080))...)
	}
	l.addProcess("edge-agent", edgeNode.name, cat([]string{"edge-agent", "--host", edgeNode.name, "--run-dir", l.runDir(edgeNode.name), "--bridge", bridge, "--datapath", "netdev", "--uplink", edgeUplink},
		client(edgeNode.name), health(edgeNode, 8080))...)
	for _, n := range nodes {
		l.addProcess("node-agent-"+n.name, n.name, cat([]string{"node-agent", "--node", n.name, "--run-dir", l.runDir(n.name), "--bridge", bridge, "--datapath", "netdev",
			"--uplink", nodeUplink, "--socket", l.cniSocket(n.name), "--manifests", l.manifests(), "--status", l.status()}, health(n, 8080))...)
	}
	for _, p := range l.processes {
		if err := p.Start(); err != nil {
			return err
		}
	}
	return nil
}

func (l *Lab) manifests() string            { return filepath.Join(l.dir, "manifests") }
func (l *Lab) status() string               { return filepath.Join(l.dir, "status") }
func (l *Lab) cniSocket(node string) string { return filepath.Join(l.runDir(node), "cni.sock") }
func (l *Lab) netconf(node string) []byte {
	return fmt.Appendf(nil, `{"cniVersion":"1.1.0","name":"tierloom","type":"tierloom","socket":%q}`, l.cniSocket(node))
}
