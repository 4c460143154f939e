package overlayovs

// A Layout says where in a bridge's pipeline the flows go.
type Layout struct {
	// Tables of the stages compiled here.
	Classify, Output uint8
	// Tables that packets are handed to: from a port, and from a tunnel or
	// an edge's downlink.
	Spoofguard, L2 uint8
	// Registers 0 to 15: key of the source port, key of the destination port,
	// and connection tracking zone.
	Source, Dest, Zone int
	// Owner and Feature of the cookies, see ovs.MakeCookie. The object is the
	// hash of the port's id.
	Owner, Feature uint8
}

// DefaultLayout returns the layout of a host bridge.
func DefaultLayout() Layout {
	return Layout{Classify: 0, Spoofguard: 10, L2: 40, Output: 80, Source: 0, Dest: 1, Zone: 5, Owner: 0x74, Feature: 1}
}

// A PortSpec is what to create in Open vSwitch.
type PortSpec struct {
	Name, Type string
	Options    map[string]string
}

// TunnelPort describes the one port for all GENEVE tunnels: where to send and
// which VNI come from the flows. Checksums of the outer UDP header are on.
func TunnelPort(name string) PortSpec {
	return PortSpec{Name: name, Type: "geneve", Options: map[string]string{"remote_ip": "flow", "key": "flow", "csum": "true"}}
}
