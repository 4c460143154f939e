// Package openflow speaks OpenFlow 1.3, 1.4 and 1.5 to Open vSwitch, with the
// extensions of Nicira and the ONF that Open vSwitch 3.1 has.
//
// A [Conn] is one connection to a bridge; it is an ovs.Switch:
//
//	c, err := openflow.Dial(ctx, "unix", "/run/openvswitch/br-int.mgmt", openflow.Config{})
//	if err != nil { ... }
//	defer c.Close()
//	err = c.Apply(ctx, ovs.Changes{FlowAdd: flows}) // one atomic bundle
//
// Very many flows are streamed by [Conn.AddFlows]. What the switch sends on its
// own, packets, ports and flows that come and go, is taken from a
// [Subscription]:
//
//	s, err := c.Subscribe(ctx, 1000)
//	if err != nil { ... }
//	for {
//		e, err := s.Next(ctx)
//		...
//		switch e := e.(type) {
//		case openflow.PacketIn: ...
//		case openflow.Lost: ... // we were too slow
//		}
//	}
//
// Formats are those of the OpenFlow Switch Specification 1.5.1; where a
// comment names a section, it is of that document. Nicira's are those of
// Open vSwitch's nicira-ext.h. Of the versions that both sides speak the latest
// is taken; what it cannot say is an error that wraps errors.ErrUnsupported,
// and nothing is sent. Before 1.5 groups have no selection method, and the id
// of a bucket is its place.
//
// Concurrency: all methods of a Conn may be called at once; requests are
// matched to answers by transaction id, and several are in flight. A caller
// writes its request and reads while it waits for the answer; a goroutine reads
// what comes in between, others keep the connection alive. They end with the
// connection, and Close waits for them. A request whose context ends is given
// up; the connection goes on.
//
// Errors: [*Error] is what the switch answered, with the flow, group or request
// that it was about; [ErrClosed] says that the connection is gone, also because
// of [ErrSilent]; [ErrMalformed] that the peer sent what cannot be read: where
// it is the frame of a message, or an answer that the request cannot have, the
// connection is closed. A peer can make us hold one message, Config.MaxReply
// bytes for each request in flight, and what subscribers queue.
package openflow
