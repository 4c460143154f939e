// Package hostagent makes a host's Open vSwitch do what the manager's span
// for the host says: it classifies, checks, routes and tunnels the packets of
// the ports plugged into it.
//
// The agent holds no state of its own. The span is mirrored from the manager;
// which VIFs are plugged in is read from OVSDB and reported; keys of ports
// (their conntrack zones) lie in the bridge's external_ids, so that a
// restarted agent gives each port the zone it had and changes nothing. Until
// the first span has arrived the agent touches no flow: what is in the switch
// goes on forwarding and enforcing. The same holds while the manager is away.
//
// Every five minutes, and sooner on a new connection, the agent reads all its
// flows, puts back what others changed, and logs each flow that it repaired.
//
// It outlives restarts of both daemons of the switch. While ovsdb-server is
// away the switch goes on as it is. An ovs-vswitchd that starts waits for its
// flows (flow-restore-wait) before it looks at packets, for a limited time, if
// the agent ran when it ended: a packet meets the whole policy or goes nowhere.
//
// After each change that the switch has taken, the agent acknowledges the
// revision of the span; the manager then calls the ports realized.
package hostagent
