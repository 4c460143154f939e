package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/tierloom/tierloom/cni"
	"github.com/tierloom/tierloom/cni/link"
	"github.com/tierloom/tierloom/examples/internal/cluster"
	"github.com/tierloom/tierloom/ovs/ovsdb"
)

// external_ids of a pod's port. The VLAN id is the port's tag.
const (
	idContainer = "tierloom-container" // container id and interface name
	idPod       = "tierloom-pod"       // namespace/name
	idUID       = "tierloom-uid"
	idMAC       = "attached-mac"
	idIPs       = "tierloom-ips" // separated by spaces
)

// vethPrefix starts the names of the host ends of pods' interfaces.
const vethPrefix = "tl"

// addTimeout bounds how long ADD waits for the network to be ready.
const addTimeout = 60 * time.Second

func attachment(r *cni.Request) string { return r.ContainerID + "/" + r.IfName }

// session waits for a connection to the switch.
func (a *Agent) session(ctx context.Context) (*session, error) {
	for {
		a.mu.Lock()
		s, changed := a.switch_, a.changed
		a.mu.Unlock()
		if s != nil {
			return s, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, cni.Errorf(cni.CodeTryAgainLater, "node %s: Open vSwitch is not connected", a.cfg.Node)
		}
	}
}

// cif waits until NCP has written the pod's CIF for the UID that is asked for.
func (a *Agent) cif(ctx context.Context, p cni.Pod) (cluster.CIF, error) {
	for {
		a.mu.Lock()
		changed := a.changed
		a.mu.Unlock()
		why := "no such pod"
		if pod, ok := a.objs.Pod(p.Namespace, p.Name); ok {
			why = "its network is not ready yet"
			if e := pod.Annotations[cluster.AnnotationError]; e != "" {
				why = e
			}
			if p.UID != "" && string(pod.UID) != p.UID {
				why = fmt.Sprintf("the pod of that name has UID %s", pod.UID)
			} else if cif, ok, err := cluster.ParseCIF(pod); err != nil {
				return cif, cni.Errorf(cni.CodeDecodingFailure, "%v", err)
			} else if ok {
				return cif, nil
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return cluster.CIF{}, cni.Errorf(cni.CodeTryAgainLater, "pod %s/%s (UID %s): %s", p.Namespace, p.Name, p.UID, why)
		}
	}
}

func (a *Agent) add(ctx context.Context, r *cni.Request) (*cni.Result, error) {
	if r.Pod.Namespace == "" || r.Pod.Name == "" {
		return nil, cni.Errorf(cni.CodeInvalidEnvironment, "CNI_ARGS: K8S_POD_NAMESPACE and K8S_POD_NAME are required")
	}
	ctx, cancel := context.WithTimeout(ctx, addTimeout)
	defer cancel()
	cif, err := a.cif(ctx, r.Pod)
	if err != nil {
		return nil, err
	}
	s, err := a.session(ctx)
	if err != nil {
		return nil, err
	}
	spec, err := linkSpec(r, cif)
	if err != nil {
		return nil, err
	}
	attached, err := link.Attach(ctx, spec)
	if err != nil {
		return nil, linkError(err)
	}
	if err := s.plug(ctx, r, spec, cif); err != nil {
		return nil, err
	}
	a.log.Info("pod attached", "pod", r.Pod.Namespace+"/"+r.Pod.Name, "uid", cif.UID, "port", spec.HostIfName, "vlan", cif.VLAN)
	return result(r, spec, attached, cif), nil
}

func linkSpec(r *cni.Request, cif cluster.CIF) (link.Spec, error) {
	mac, err := net.ParseMAC(cif.MAC)
	if err != nil {
		return link.Spec{}, fmt.Errorf("annotation %s: mac: %w", cluster.AnnotationCIF, err)
	}
	spec := link.Spec{
		NetNS: r.NetNS, IfName: r.IfName, HostIfName: link.HostName(vethPrefix, r.ContainerID, r.IfName),
		MAC: mac, Addresses: cif.Addresses, MTU: cif.MTU,
	}
	for _, g := range cif.Gateways {
		if g.Is4() && !spec.Gateway.IsValid() {
			spec.Gateway = g
			continue
		}
		spec.Routes = append(spec.Routes, link.Route{Dst: netip.PrefixFrom(netip.IPv6Unspecified(), 0), Via: g})
	}
	return spec, nil
}

// linkError gives an error of package link the code that the plugin reports.
func linkError(err error) error {
	switch {
	case errors.Is(err, link.ErrNetNS):
		return cni.Errorf(cni.CodeInvalidNetNS, "%v", err)
	case errors.Is(err, link.ErrMismatch):
		return cni.Errorf(cni.CodeMismatch, "%v", err)
	}
	return err
}

// plug makes the pod's port and returns when its flows are in force. A port
// that has its VLAN id goes first, if it was left behind: by another sandbox of
// the pod, or by a pod that is gone.
func (s *session) plug(ctx context.Context, r *cni.Request, spec link.Spec, cif cluster.CIF) error {
	ports, err := s.vs.Ports(ctx, s.cfg.Bridge)
	if err != nil {
		return err
	}
	for _, p := range ports {
		if p.ExternalIDs[idContainer] != "" && p.Tag == cif.VLAN && p.Name != spec.HostIfName {
			if s.lives(p) && p.ExternalIDs[idUID] != cif.UID {
				return cni.Errorf(cni.CodeInvalidConfig, "pod %s/%s: annotation %s: vlan %d is that of pod %s",
					r.Pod.Namespace, r.Pod.Name, cluster.AnnotationCIF, cif.VLAN, p.ExternalIDs[idPod])
			}
			if err := s.unplug(ctx, p.Name); err != nil {
				return err
			}
		}
	}
	ips := make([]string, len(cif.Addresses))
	for i, a := range cif.Addresses {
		ips[i] = a.Addr().String()
	}
	_, err = s.vs.EnsurePort(ctx, ovsdb.PortSpec{
		Bridge: s.cfg.Bridge, Name: spec.HostIfName, Tag: cif.VLAN,
		ExternalIDs: map[string]string{
			idContainer: attachment(r), idPod: r.Pod.Namespace + "/" + r.Pod.Name, idUID: cif.UID, idMAC: cif.MAC, idIPs: strings.Join(ips, " "),
		},
	})
	if err != nil {
		return err
	}
	return s.round(ctx)
}

// lives reports whether a port is that of a pod of the cluster, as its
// annotation has it.
func (s *session) lives(p ovsdb.PortInfo) bool {
	namespace, name, _ := strings.Cut(p.ExternalIDs[idPod], "/")
	pod, ok := s.objs.Pod(namespace, name)
	if !ok || string(pod.UID) != p.ExternalIDs[idUID] {
		return false
	}
	cif, ok, err := cluster.ParseCIF(pod)
	return err == nil && ok && cif.VLAN == p.Tag
}

func result(r *cni.Request, spec link.Spec, attached link.Attached, cif cluster.CIF) *cni.Result {
	sandbox := 1
	res := &cni.Result{Interfaces: []cni.Interface{
		{Name: spec.HostIfName, MAC: attached.HostMAC.String()},
		{Name: r.IfName, MAC: attached.MAC.String(), MTU: attached.MTU, Sandbox: r.NetNS},
	}}
	for i, a := range cif.Addresses {
		res.IPs = append(res.IPs, cni.IP{Address: a, Gateway: cif.Gateways[i], Interface: &sandbox})
		bits := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		if a.Addr().Is6() {
			bits = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		}
		res.Routes = append(res.Routes, cni.Route{Dst: bits, GW: cif.Gateways[i]})
	}
	return res
}

func (a *Agent) del(ctx context.Context, r *cni.Request) (*cni.Result, error) {
	s, err := a.session(ctx)
	if err != nil {
		return nil, err
	}
	return nil, s.unplug(ctx, link.HostName(vethPrefix, r.ContainerID, r.IfName))
}

// unplug removes a pod's flows, port and interface; any may be gone already.
func (s *session) unplug(ctx context.Context, name string) error {
	if err := s.vs.DeletePort(ctx, s.cfg.Bridge, name); err != nil {
		return err
	}
	if err := link.Detach(ctx, name); err != nil {
		return err
	}
	return s.round(ctx)
}

func (a *Agent) check(ctx context.Context, r *cni.Request) (*cni.Result, error) {
	s, err := a.session(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	cif, err := a.cif(ctx, r.Pod)
	if err != nil {
		return nil, err
	}
	spec, err := linkSpec(r, cif)
	if err != nil {
		return nil, err
	}
	if err := link.Check(ctx, spec); err != nil {
		return nil, linkError(err)
	}
	ports, err := s.vs.Ports(ctx, s.cfg.Bridge)
	if err != nil {
		return nil, err
	}
	for _, p := range ports {
		if p.Name == spec.HostIfName && p.Tag == cif.VLAN && p.ExternalIDs[idContainer] == attachment(r) && p.OFPort != 0 {
			return nil, nil
		}
	}
	return nil, cni.Errorf(cni.CodeMismatch, "pod %s/%s: port %s with VLAN %d is not on %s", r.Pod.Namespace, r.Pod.Name, spec.HostIfName, cif.VLAN, s.cfg.Bridge)
}

// status is well when a pod could be attached: switch connected, cluster known.
func (a *Agent) status(context.Context, *cni.Request) (*cni.Result, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.switch_ == nil:
		return nil, cni.Errorf(cni.CodeNotAvailable, "node %s: Open vSwitch is not connected", a.cfg.Node)
	case !a.synced:
		return nil, cni.Errorf(cni.CodeNotAvailable, "node %s: the cluster has not been listed yet", a.cfg.Node)
	}
	return nil, nil
}

// gc removes every attachment that the runtime no longer knows.
func (a *Agent) gc(ctx context.Context, r *cni.Request) (*cni.Result, error) {
	s, err := a.session(ctx)
	if err != nil {
		return nil, err
	}
	valid := map[string]bool{}
	for _, v := range r.ValidAttachments {
		valid[v.ContainerID+"/"+v.IfName] = true
	}
	ports, err := s.vs.Ports(ctx, s.cfg.Bridge)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, p := range ports {
		if id := p.ExternalIDs[idContainer]; id != "" && !valid[id] {
			errs = append(errs, s.unplug(ctx, p.Name))
		}
	}
	return nil, errors.Join(errs...)
}
