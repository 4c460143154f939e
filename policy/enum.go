package policy

import (
	"fmt"
	"strconv"
	"strings"
)

// A Category is a tier of sections.
type Category string

// Categories in the order in which they are tried.
const (
	Emergency      Category = "Emergency"
	Infrastructure Category = "Infrastructure"
	Environment    Category = "Environment"
	Application    Category = "Application"
	Baseline       Category = "Baseline"
)

// Categories returns all categories in the order in which they are tried.
func Categories() []Category {
	return []Category{Emergency, Infrastructure, Environment, Application, Baseline}
}

// Rank is the category's place, from 0; -1 if it is none. Empty is Application.
func (c Category) Rank() int {
	switch c {
	case Emergency:
		return 0
	case Infrastructure:
		return 1
	case Environment:
		return 2
	case Application, "":
		return 3
	case Baseline:
		return 4
	}
	return -1
}

// An Action is what becomes of a packet. The zero Action drops.
type Action uint8

// Actions.
const (
	Drop Action = iota
	Allow
	Reject // drop, and tell the sender
	// Pass goes on with category Application; only in the categories before it.
	Pass
)

var actionNames = [...]string{"DROP", "ALLOW", "REJECT", "JUMP_TO_APPLICATION"}

// String returns "ALLOW".
func (a Action) String() string { return name(actionNames[:], int(a)) }

// MarshalText implements encoding.TextMarshaler.
func (a Action) MarshalText() ([]byte, error) { return marshalName("action", actionNames[:], int(a)) }

// UnmarshalText takes a name in upper or lower case, and "pass".
func (a *Action) UnmarshalText(b []byte) error {
	if strings.EqualFold(string(b), "pass") {
		*a = Pass
		return nil
	}
	i, err := parseName("action", actionNames[:], string(b))
	*a = Action(i)
	return err
}

// A Direction is at which port a rule is tried.
type Direction uint8

// Directions.
const (
	InOut Direction = iota
	Ingress
	Egress
)

var directionNames = [...]string{"IN_OUT", "IN", "OUT"}

// String returns "IN_OUT".
func (d Direction) String() string { return name(directionNames[:], int(d)) }

// MarshalText implements encoding.TextMarshaler.
func (d Direction) MarshalText() ([]byte, error) {
	return marshalName("direction", directionNames[:], int(d))
}

// UnmarshalText takes a name in upper or lower case.
func (d *Direction) UnmarshalText(b []byte) error {
	i, err := parseName("direction", directionNames[:], string(b))
	*d = Direction(i)
	return err
}

// An Established is what becomes of connections that were allowed when they
// began and that the rules of now would not allow.
type Established uint8

// What becomes of established connections.
const (
	Reevaluate Established = iota // they end
	Keep                          // they go on until they end by themselves
)

var establishedNames = [...]string{"RE_EVALUATE", "KEEP"}

// String returns "RE_EVALUATE".
func (x Established) String() string { return name(establishedNames[:], int(x)) }

// MarshalText implements encoding.TextMarshaler.
func (x Established) MarshalText() ([]byte, error) {
	return marshalName("established", establishedNames[:], int(x))
}

// UnmarshalText takes a name in upper or lower case.
func (x *Established) UnmarshalText(b []byte) error {
	i, err := parseName("established", establishedNames[:], string(b))
	*x = Established(i)
	return err
}

// A Protocol is an IANA protocol number; 0 is any.
type Protocol uint8

// Protocols with names.
const (
	ICMP   Protocol = 1
	TCP    Protocol = 6
	UDP    Protocol = 17
	ICMPv6 Protocol = 58
	SCTP   Protocol = 132
)

var protocolNames = map[Protocol]string{0: "ANY", ICMP: "ICMP", TCP: "TCP", UDP: "UDP", ICMPv6: "ICMPv6", SCTP: "SCTP"}

// HasPorts reports whether the protocol is one whose ports can be told.
func (p Protocol) HasPorts() bool { return p == TCP || p == UDP || p == SCTP }

// String returns "TCP", or the number.
func (p Protocol) String() string {
	if s, ok := protocolNames[p]; ok {
		return s
	}
	return strconv.Itoa(int(p))
}

// MarshalText implements encoding.TextMarshaler.
func (p Protocol) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText takes a name in any case, or a number.
func (p *Protocol) UnmarshalText(b []byte) error {
	for n, s := range protocolNames {
		if strings.EqualFold(s, string(b)) {
			*p = n
			return nil
		}
	}
	n, err := strconv.ParseUint(string(b), 10, 8)
	if err != nil {
		return fmt.Errorf("policy: protocol %q: %w", b, ErrInvalid)
	}
	*p = Protocol(n)
	return nil
}

func name(names []string, i int) string {
	if i < len(names) {
		return names[i]
	}
	return strconv.Itoa(i)
}

func marshalName(what string, names []string, i int) ([]byte, error) {
	if i >= len(names) {
		return nil, fmt.Errorf("policy: %s %d: %w", what, i, ErrInvalid)
	}
	return []byte(names[i]), nil
}

func parseName(what string, names []string, s string) (int, error) {
	for i, n := range names {
		if strings.EqualFold(n, s) {
			return i, nil
		}
	}
	return 0, fmt.Errorf("policy: %s %q is none of %s: %w", what, s, strings.Join(names, ", "), ErrInvalid)
}
