package overlayovs

import (
	"errors"
	"fmt"

	"github.com/tierloom/tierloom/overlay"
	"github.com/tierloom/tierloom/ovs"
)

// An Input is what is plugged into a bridge.
type Input struct {
	// Tunnel is the ofport of the port that [TunnelPort] describes; 0 is none.
	Tunnel uint32
	Ports  []Port
	// Downlink, on an edge, joins the transit network to the kernel.
	Downlink *Downlink
}

// A Port is a segment port: a VLAN of a vNIC, or a VIF of its own.
type Port struct {
	ID     string
	Key    uint32 // 1 to 65535, local to the host; also the port's connection tracking zone
	OFPort uint32 // of the vNIC or VIF
	VLAN   uint16 // 1 to 4094; 0 for a VIF, whose packets are untagged
	VNI    uint32 // of its segment
}

// A Downlink is the internal port of an edge.
type Downlink struct {
	OFPort     uint32
	TransitVNI uint32
}

// Priorities of the flows.
const (
	prioDrop    = 0
	prioTunnel  = 100
	prioPort    = 100
	prioTransit = 200
)

// Flows compiles the stages classify and output. Packets that nothing
// classifies are dropped and counted.
func Flows(in Input, l Layout) ([]ovs.Flow, error) {
	if err := in.validate(); err != nil {
		return nil, err
	}
	c := compiler{Layout: l}
	c.add(l.Classify, prioDrop, "", ovs.NewMatch())
	c.add(l.Output, prioDrop, "", ovs.NewMatch())
	if in.Tunnel != 0 {
		c.tunnel(in.Tunnel)
	}
	if in.Downlink != nil {
		c.downlink(in.Tunnel, *in.Downlink)
	}
	for _, p := range in.Ports {
		c.port(p)
	}
	return c.flows, nil
}

type compiler struct {
	Layout
	flows []ovs.Flow
}

func (c *compiler) add(table uint8, priority uint16, object string, m ovs.Match, actions ...ovs.Action) {
	c.flows = append(c.flows, ovs.Flow{
		Table: table, Priority: priority, Cookie: ovs.MakeCookie(c.Owner, c.Feature, ovs.ObjectHash(object)), Match: m, Actions: actions,
	})
}

// tunnel takes packets in by their VNI and sends them where tun_dst says. What
// comes from a tunnel was checked and routed where it started.
func (c *compiler) tunnel(ofport uint32) {
	vni := ovs.FieldTunID.Whole()
	segment := ovs.FieldMetadata.Whole()
	c.add(c.Classify, prioTunnel, "", ovs.NewMatch(ovs.InPort(ofport)), ovs.Move(vni, segment), ovs.Goto(c.L2))
	c.add(c.Output, prioTunnel, "", ovs.NewMatch(ovs.Reg(c.Dest, 0)), ovs.Output(ofport))
}

// downlink joins the transit network to the kernel of an edge.
func (c *compiler) downlink(tunnel uint32, d Downlink) {
	c.add(c.Classify, prioTransit, "", ovs.NewMatch(ovs.InPort(d.OFPort)), ovs.SetField(ovs.Metadata(uint64(d.TransitVNI))), ovs.Goto(c.L2))
	if tunnel != 0 {
		c.add(c.Classify, prioTransit, "", ovs.NewMatch(ovs.InPort(tunnel), ovs.TunID(uint64(d.TransitVNI))), ovs.Output(d.OFPort))
	}
}

func (c *compiler) port(p Port) {
	match := []ovs.FieldMatch{ovs.InPort(p.OFPort), ovs.NoVLAN()}
	var in, out []ovs.Action
	if p.VLAN != 0 {
		match[1] = ovs.VLANVID(p.VLAN)
		in = append(in, ovs.PopVLAN())
		out = append(out, ovs.PushVLAN(), ovs.SetField(ovs.VLANVID(p.VLAN)))
	}
	in = append(in, ovs.SetField(ovs.Reg(c.Source, p.Key)), ovs.SetField(ovs.Reg(c.Zone, p.Key)), ovs.SetField(ovs.Metadata(uint64(p.VNI))), ovs.Goto(c.Spoofguard))
	// Two ports of one vNIC reach each other by the port that the packet came
	// in by. The tag comes off again for the next copy of a flooded packet.
	out = append(out, ovs.ClearInPort(), ovs.Output(p.OFPort))
	if p.VLAN != 0 {
		out = append(out, ovs.PopVLAN())
	}
	c.add(c.Classify, prioPort, p.ID, ovs.NewMatch(match...), in...)
	c.add(c.Output, prioPort, p.ID, ovs.NewMatch(ovs.Reg(c.Dest, p.Key)), out...)
}

func (in Input) validate() error {
	var errs []error
	type place struct {
		ofport uint32
		vlan   uint16
	}
	keys, places := map[uint32]string{}, map[place]string{}
	fault := func(p Port, format string, args ...any) {
		errs = append(errs, fmt.Errorf("overlayovs: port %q: %w: "+format, append([]any{p.ID, ovs.ErrInvalid}, args...)...))
	}
	for _, p := range in.Ports {
		if p.Key == 0 || p.Key > 0xffff {
			fault(p, "key %d: want 1 to 65535", p.Key)
		}
		if p.VLAN > 4094 {
			fault(p, "vlan %d: want 0 to 4094", p.VLAN)
		}
		if _, err := overlay.NewVNI(p.VNI); err != nil {
			fault(p, "%v", err)
		}
		if other, ok := keys[p.Key]; ok {
			fault(p, "key %d: also of port %q", p.Key, other)
		}
		at := place{p.OFPort, p.VLAN}
		if other, ok := places[at]; ok {
			fault(p, "ofport %d, vlan %d: also of port %q", p.OFPort, p.VLAN, other)
		}
		if p.OFPort == 0 || p.OFPort == in.Tunnel {
			fault(p, "ofport %d: not that of a vNIC or VIF", p.OFPort)
		}
		keys[p.Key], places[at] = p.ID, p.ID
	}
	if in.Downlink != nil {
		errs = append(errs, in.validateDownlink(*in.Downlink)...)
	}
	return errors.Join(errs...)
}

func (in Input) validateDownlink(d Downlink) (errs []error) {
	if _, err := overlay.NewVNI(d.TransitVNI); err != nil {
		errs = append(errs, fmt.Errorf("overlayovs: downlink: %w: transit %v", ovs.ErrInvalid, err))
	}
	if d.OFPort == 0 || d.OFPort == in.Tunnel {
		errs = append(errs, fmt.Errorf("overlayovs: downlink: %w: ofport %d: not that of an internal port", ovs.ErrInvalid, d.OFPort))
	}
	for _, p := range in.Ports {
		if p.OFPort == d.OFPort {
			errs = append(errs, fmt.Errorf("overlayovs: downlink: %w: ofport %d: also of port %q", ovs.ErrInvalid, d.OFPort, p.ID))
		}
	}
	return errs
}
