package ovs

import (
	"fmt"
	"strings"
)

// A shorthand is an action of a text that stands for several, or for one that
// depends on what the packet is by then. It is expanded before anybody sees it.
type shorthand struct {
	text   string
	expand func(*packetSoFar) ([]Action, error)
}

func (shorthand) action()          {}
func (s shorthand) String() string { return s.text }

// packetSoFar is what a flow's match and the actions before say of a packet.
type packetSoFar struct {
	tagged bool   // it has a VLAN tag
	proto  uint64 // of IP, 0 if not known
}

func matched(m Match) packetSoFar {
	vid, _ := m.Field(FieldVLANVID)
	proto, _ := m.Field(FieldIPProto)
	return packetSoFar{tagged: vid.Uint()&vlanPresent != 0, proto: proto.Uint()}
}

// parseShorthand reads ovs-actions(7)'s enqueue, mod_vlan_vid, mod_vlan_pcp,
// mod_tp_src and mod_tp_dst.
func parseShorthand(name, arg string) (a Action, ok bool, err error) {
	s := shorthand{text: name + ":" + arg}
	switch name {
	case "enqueue":
		s.expand, err = parseEnqueue(arg)
	case "mod_vlan_vid", "mod_vlan_pcp":
		var v uint16
		most := map[string]uint16{"mod_vlan_vid": 0xfff, "mod_vlan_pcp": 7}[name]
		if err = parseUint(arg, &v); err == nil && v > most {
			err = fmt.Errorf("more than %d", most)
		}
		set := VLANVID(v)
		if name == "mod_vlan_pcp" {
			set = exact(FieldVLANPCP, uint64(v))
		}
		s.expand = func(p *packetSoFar) ([]Action, error) { return p.retag(set), nil }
	case "mod_tp_src", "mod_tp_dst":
		var port uint16
		err = parseUint(arg, &port)
		s.expand = func(p *packetSoFar) ([]Action, error) { return p.setPort(name, port) }
	default:
		return nil, false, nil
	}
	return s, true, err
}

func parseEnqueue(arg string) (func(*packetSoFar) ([]Action, error), error) {
	at := strings.IndexAny(arg, ":,")
	if at < 0 {
		return nil, fmt.Errorf("want a port and a queue")
	}
	port, err := parsePort(arg[:at])
	var queue uint32
	if err == nil {
		err = parseUint(arg[at+1:], &queue)
	}
	return func(*packetSoFar) ([]Action, error) {
		return []Action{SetQueue(queue), Output(port), PopQueue()}, nil
	}, err
}

// retag sets a field of the tag, which is pushed if there is none.
func (p *packetSoFar) retag(set FieldMatch) []Action {
	if p.tagged {
		return []Action{SetField(set)}
	}
	p.tagged = true
	return []Action{PushVLAN(), SetField(set)}
}

func (p *packetSoFar) setPort(name string, port uint16) ([]Action, error) {
	src := map[uint64]Field{protoTCP: FieldTCPSrc, protoUDP: FieldUDPSrc, protoSCTP: FieldSCTPSrc}
	f, ok := src[p.proto]
	if !ok {
		return nil, refuse("%s:%d without a protocol that says which field it is", name, port)
	}
	if name == "mod_tp_dst" {
		f++ // that of a protocol's destination comes next
	}
	return []Action{SetField(exact(f, uint64(port)))}, nil
}

// expand replaces the shorthands of a list, and of lists in it.
func (p packetSoFar) expand(list []Action) ([]Action, error) {
	var out []Action
	for _, a := range list {
		var err error
		switch x := a.(type) {
		case shorthand:
			more, err := x.expand(&p)
			if err != nil {
				return nil, err
			}
			out = append(out, more...)
			continue
		case PushVLANAction:
			p.tagged = true
		case PopVLANAction:
			p.tagged = false
		case CloneAction:
			x.Actions, err = p.expand(x.Actions)
			a = x
		case WriteActionsAction:
			x.Actions, err = p.expand(x.Actions)
			a = x
		}
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, nil
}
