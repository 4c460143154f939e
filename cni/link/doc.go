// Package link wires a pod's sandbox to the node: a veth pair whose one end is
// the pod's interface and whose other end is a port of the node's bridge.
//
// A [Spec] is the wanted state of one pair. [Attach] makes the real state so,
// whatever it finds: nothing, a pair left half-made by a killed agent, or one
// with another MAC address, MTU, address or route. [Check] compares and
// changes nothing; [Detach] removes the pair by its host name and needs no
// namespace; [List] finds what an earlier life left behind:
//
//	spec := link.Spec{
//		NetNS:      "/run/netns/pod",
//		IfName:     "eth0",
//		HostIfName: link.HostName("tl", containerID, "eth0"),
//		MAC:        mac,
//		Addresses:  []netip.Prefix{netip.MustParsePrefix("10.4.1.5/24")},
//		Gateway:    netip.MustParseAddr("10.4.1.1"),
//		MTU:        1400,
//	}
//	res, err := link.Attach(ctx, spec)
//
// The host name is the identity of a pair: it derives from container id and
// interface name, so two attempts can never leave two ports. Transmit
// checksum offload is turned off on both ends: a userspace (netdev) datapath
// would otherwise forward packets whose checksum nobody filled in.
//
// Everything is done over netlink and ioctl; no program is executed. Linux
// only: elsewhere every operation returns errors.ErrUnsupported.
//
// # Concurrency
//
// Operations on different host names may run at once. Operations on the same
// one must be serialised by the caller; a cni.Server does that. The calling
// goroutine's thread never changes its namespace: work inside a sandbox is
// done on sockets, or on a locked thread that is either restored or ended.
//
// # Errors
//
// [ErrNetNS] says that the sandbox is not there, [ErrForeign] that an
// interface is in the way which is not ours to remove, [ErrMismatch] that Check
// found a difference, [ErrInvalid] that the Spec is wrong.
package link
