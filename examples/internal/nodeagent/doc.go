// Package nodeagent attaches a node's pods and balances the services they
// ask for, on the node's own Open vSwitch.
//
// The agent holds no state: which pods are attached is in the switch's
// database, as external_ids of their ports; services and endpoints come from
// the cluster. Flows are a function of both, synchronised by difference, so
// that a restart changes nothing.
//
// CNI ADD waits until NCP has written the pod's CIF for the pod's own UID,
// which it does once the host enforces the pod's rules; then it makes the veth
// pair and the port. ADD, asked again, converges to the same one port. DEL
// needs neither the sandbox nor the pod. Ports whose interface is gone with
// its sandbox are swept when the agent connects to the switch.
package nodeagent
