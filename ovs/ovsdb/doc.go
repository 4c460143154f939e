// Package ovsdb talks to Open vSwitch's configuration database: an OVSDB
// client (RFC 7047) and, on top of it, the bridges and ports of a switch.
//
// A Client is one JSON-RPC connection, over any net.Conn; Endpoint makes those
// of unix, tcp and ssl. A Session is one that comes back: it dials again, and
// brings its Caches to what the server has by then. Transact sends operations
// that happen together or not at all; Monitor returns a Cache that follows
// tables as they change. Values are Go values: string, bool, int64, float64, UUID, Set and
// Map, in a Row by column name; Marshal and Unmarshal carry rows to and from
// structs with `ovsdb:"column"` tags. VSwitch knows the Open_vSwitch database:
// it ensures bridges and ports, and returns once ovs-vswitchd has them.
//
//	c, err := ovsdb.Dial(ctx, "unix", "/var/run/openvswitch/db.sock", ovsdb.Config{})
//	vs, err := ovsdb.NewVSwitch(ctx, c)
//	err = vs.EnsureBridge(ctx, ovsdb.BridgeSpec{Name: "br-int", FailMode: "secure"})
//	ofport, err := vs.EnsurePort(ctx, ovsdb.PortSpec{Bridge: "br-int", Name: "vif1"})
//
// Concurrency: Client, Cache and VSwitch may be used by several goroutines. A
// Client owns two goroutines, one that reads and one that writes, until Close
// or until the connection ends; nothing else is left running. A Session works
// while its Run does. Every call takes
// a context; a cancelled transact is cancelled at the server too, which may
// have carried it out already.
//
// Errors: a broken connection is ErrDisconnected, from every call and from
// every read of a Cache, never an empty answer. What the server refuses is an
// *Error with the operation it refused. Bytes that are no OVSDB are
// ErrMalformed, and end the connection.
package ovsdb
