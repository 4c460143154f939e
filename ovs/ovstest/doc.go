// Package ovstest runs real Open vSwitch for tests and labs.
//
// An Instance is one ovsdb-server and one ovs-vswitchd with a database, a run
// directory and a network namespace of their own, so that many live side by
// side on one machine and none touches the machine's own switch. The datapath
// is the userspace one (datapath_type=netdev): no kernel module is needed, but
// checksum offload must be off on every veth that feeds a bridge, which Veth
// sees to.
//
//	in := ovstest.Start(t)                     // skips without OVS and root
//	in.AddBridge("br0")
//	in.AddNS("br0", "10.0.0.1/24")             // namespace, veth, port
//	conn, err := openflow.Dial(ctx, "unix", in.Mgmt("br0"), openflow.Config{})
//	fmt.Println(in.Ofctl("dump-flows", "br0"))
//
// Start and the helpers that take a testing.TB fail the test and remove what
// they made when it ends. NewInstance, CreateNS, DeleteNS, VethPair and Exec
// are the same without a test, and return errors.
//
// Packets meet a change of flows once PurgeDatapath has returned. A [Stream]
// sends packets and sees which arrive.
//
// A [Bridge] is a switch in memory, as strict as the real one: [TestSwitch]
// holds both to the same. Its Trace says what its flows do to a packet, made of
// fields or of a frame.
//
// Concurrency: an Instance may be used by several goroutines; stopping and
// starting its daemons is serialised.
//
// Errors name the program, its arguments and what it said. A test that lacks
// what it needs is skipped with the name of the missing thing, and failed
// instead when the environment variable TIERLOOM_REQUIRE lists that name.
package ovstest
