// Package overlayovs compiles the two ends of a host's pipeline to flows:
// classify, which turns the port and VLAN that a packet came in by into a port
// key and a segment, and output, which sends it out by the VLAN of its port or
// through a tunnel.
//
//	classify  vNIC + VLAN, or VIF        → source key, zone, segment; tag off
//	          tunnel + VNI               → segment
//	output    destination key            → tag on, vNIC or VIF
//	          no destination key         → tunnel, as tun_id and tun_dst say
//
// [Flows] is pure: the same input gives the same flows in the same order. All
// table numbers, registers and cookies are in the [Layout].
//
// Errors wrap ovs.ErrInvalid and name the port and the fault.
package overlayovs
