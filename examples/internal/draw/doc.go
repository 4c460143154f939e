// Package draw draws the logical topology of a manager's objects, and where
// its workloads are placed: tier-0 gateways with their edge, tier-1 gateways
// with their segments and pods, and below them hosts with nodes on the
// underlay.
//
//	g, err := draw.Build(objects)
//	if err != nil {
//		return err
//	}
//	os.WriteFile("topology.svg", g.SVG(), 0o644)
//
// Drawings depend on the objects alone, not on their order. A [Graph] does
// not change once built and is safe for concurrent use.
//
// Errors of [Build] name the object and the field that does not decode. What
// refers to an absent object is drawn without it: a pod whose node is on no
// host yet is "not placed".
package draw
