// Package lab builds a whole fabric on one machine out of network namespaces
// and real Open vSwitch, runs every Tierloom process in the namespace where
// it would live, drives it with Kubernetes manifests, and checks on real
// packets and real state that it does what it should.
//
//	mgmt   a bridge that stands for the management network
//	ul     a bridge that stands for the underlay between TEPs
//	mgr    manager and ncp
//	h1 h2  hosts: Open vSwitch, host agent
//	n1 n2 (on h1), n3 (on h2)  nodes: Open vSwitch, node agent, one trunk vNIC
//	edge   Open vSwitch, nftables, edge agent
//	rtr    the physical router, ext the external machine beyond it
//	p-...  one namespace a pod, attached by executing the CNI plugin
//
// Names carry the run's id, so that runs do not collide. Everything a run
// makes is a child process, a namespace or a file below its run directory; it
// is removed in reverse order at the end, also after a failure or an interrupt.
package lab
