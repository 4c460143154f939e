// Package policytest is what every backend of package policy has to pass, on
// real packets between network namespaces that it makes itself: [Run].
//
//	func TestParity(t *testing.T) {
//		policytest.Run(t, policytest.Config{Routed: true}, func(t testing.TB, lab *policytest.Lab) policytest.Backend { … })
//	}
//
// A [Lab] is seven pods, each a namespace with one interface, whose other end is in
// one namespace where the backend enforces and forwards. Four of the pods have ports with
// rules; the others are elsewhere, as far as rules go.
//
// Worlds: random firewalls are put in force one after another, and connections
// tried: TCP connect, UDP echo, ICMP echo, both address families. What gets through
// has to be what the evaluator says. A probe that ought to pass is tried again before
// it counts as lost.
//
// Updates: a firewall changes at random, again and again, while datagrams flow. Batches of
// them are followed by a marker that no rule is about; once it has come, each datagram
// of the batch has come or never will. None may pass that each state denies which was in
// force between its sending and then, and none may be lost that each of them allows.
//
// Established: a connection is allowed, then denied, in each of the ways there are.
//
// The environment variables TIERLOOM_WORLDS and TIERLOOM_UPDATES say how many worlds and
// updates there are; TIERLOOM_SEED picks others.
package policytest
