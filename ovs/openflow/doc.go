// Package openflow speaks OpenFlow 1.5 to Open vSwitch, with the Nicira
// extensions that the values of package ovs need.
//
// A [Conn] is one connection to a bridge; it is an ovs.Switch:
//
//	c, err := openflow.Dial(ctx, "unix", "/run/openvswitch/br-int.mgmt", openflow.Config{})
//	if err != nil { ... }
//	defer c.Close()
//	err = c.Apply(ctx, ovs.Changes{FlowAdd: flows}) // one atomic bundle
//
// Formats are those of the OpenFlow Switch Specification 1.5.1; where a
// comment names a section, it is of that document. Nicira's are those of
// Open vSwitch's nicira-ext.h.
//
// Only OpenFlow 1.5 is spoken; a bridge whose protocols lack it is refused at
// the handshake.
//
// Concurrency: all methods of a Conn may be called at once; requests are
// matched to answers by transaction id, and several are in flight. A caller
// writes its request and reads while it waits for the answer; a goroutine reads
// what comes in between, another keeps the connection alive. They end with the
// connection, and Close waits for them. A request whose context ends is given
// up; the connection goes on.
//
// Errors: [*Error] is what the switch answered, with the flow or group that it
// was about; [ErrClosed] says that the connection is gone, also because of
// [ErrSilent]; [ErrMalformed] that the peer sent what cannot be read: where it
// is the frame of a message, the connection is closed.
package openflow
