// Package ncp turns a cluster's objects into intent: for each namespace a
// segment, a tier-1 gateway, a subnet and SNAT or a route; for each pod a
// segment port; for each node a peer in rules and what lets it reach its own pods;
// for each policy groups and sections, and a baseline for where there is none; for
// each service of type LoadBalancer a virtual server.
//
// It is level-triggered. A key is one Kubernetes object; its desired intent
// is a function of what the cluster and the manager hold now; the intent that
// carries the key in its tag created_for is the actual state; the difference
// is written in one batch. A restart therefore writes nothing when nothing
// changed, and removes what lost its object while away, but only where the
// tag names our own cluster.
//
// Leases are given back by one collector, which reads the leases first and
// then who is alive: a pod, an object of intent, or a port that a host still
// realizes keeps its leases.
//
// What goes wrong with an object is told to its owner: an event and the
// annotation ncp/error; both name the cause, and the annotation goes away when it heals.
package ncp
