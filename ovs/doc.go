// Package ovs has the values of Open vSwitch's OpenFlow side: flows, matches,
// actions and groups that can be printed, compared and diffed, and a Bridge
// that keeps what a program has on a switch equal to what it wants.
//
// A [Flow] is a table, a priority, a [Match] and a list of [Action]. Matches
// and actions are made by constructors that read like ovs-fields(7) and
// ovs-actions(7); String speaks the syntax of ovs-ofctl(8):
//
//	f := ovs.Flow{Table: 40, Priority: 100,
//		Match:   ovs.NewMatch(ovs.Metadata(7), ovs.EthDst(mac)),
//		Actions: []ovs.Action{ovs.SetField(ovs.Reg(1, 5)), ovs.Goto(70)}}
//	fmt.Println(f) // table=40,priority=100,metadata=0x7,eth_dst=... actions=set_field:0x5->reg1,goto_table:70
//
// A [Share] is what one program has of a bridge: a range of cookies and one of
// group ids. A [Bridge] keeps the share as the program's owners want it, each an
// object or a feature with flows and groups of its own:
//
//	b := ovs.NewBridge(conn, ovs.Share{Cookie: 0x74 << 56, Mask: ovs.OwnerMask})
//	err = b.Set("port/web-1", flows, nil)
//	b.Remove("port/web-2")
//	report, err := b.Sync(ctx)
//
// Only what changed since the last Sync is compared, and only the difference
// is sent, in one atomic bundle. What others have on the same bridge is
// neither read nor touched. After a restart of either side the first Sync
// reads what is there: nothing is sent when nothing changed. [Bridge.Audit]
// looks for what others did to the share, and repairs it. [Bridge.Keep] does
// all this by itself, through any loss of the connection.
//
// A switch that restarted has no flows. In fail-mode secure it drops until
// they are back, and [Bridge.Sync] puts them back in an order in which no
// packet gets further than it will in the end; in fail-mode standalone it
// forwards everything meanwhile. Before a planned restart, other_config
// flow-restore-wait of the Open_vSwitch table makes the kernel's datapath go
// on by the flows it has, until it is removed after the first Sync.
//
// [ParseFlow] and [ParseGroup] read what String writes and much of what
// ovs-ofctl does; a [Pipeline] gives tables names.
//
// The wire is elsewhere: a [Switch] is an *openflow.Conn, or an in-memory
// bridge in tests.
//
// Concurrency: Flow, Match, Action and Group are values that must not be
// changed once shared; they may be read concurrently. All methods of a Bridge
// may be called at once; those that ask the switch wait for each other.
//
// Errors: [ErrInvalid] for a value the switch could not take, naming the flow
// and the fault; [ErrConflict] for owners at odds, naming both; errors of the
// Switch are passed on with what was attempted.
package ovs
