// Package ccp works out what each host needs to know: the central control
// plane. It keeps one derived store a host, its span, equal to what the
// intent says, and so sends hosts only what changed for them.
//
// Who is in which group and which rules apply to which port is worked out
// here, by package policy; where ports are and how to reach them by package
// topology. A host receives its own ports, the neighbours and segments it can
// reach, the rules that apply to its ports, and the address sets these name.
//
// A [Plane] is given the whole intent after each change. It may be used
// concurrently. An object at fault is left out and named by [Plane.Faults];
// the others are unaffected.
package ccp
