package ovs

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// parseActions reads a list of actions; "drop" and "" are none.
func parseActions(s string) ([]Action, error) {
	if s == "" || s == "drop" {
		return nil, nil
	}
	parts, err := splitTop(s)
	if err != nil {
		return nil, err
	}
	var list []Action
	for _, p := range parts {
		a, err := parseAction(strings.TrimSpace(p))
		if err != nil {
			return nil, refuse("action %q: %v", p, err)
		}
		list = append(list, a)
	}
	return list, nil
}

// splitTop splits at the commas that no parenthesis or bracket encloses.
func splitTop(s string) ([]string, error) {
	var parts []string
	depth, from := 0, 0
	for i := range len(s) {
		switch s[i] {
		case '(', '[':
			depth++
		case ')', ']':
			depth--
		case ',':
			if depth == 0 {
				parts = append(parts, s[from:i])
				from = i + 1
			}
		}
		if depth < 0 || depth > 16 {
			break
		}
	}
	if depth != 0 {
		return nil, refuse("parentheses do not match in %q", s)
	}
	return append(parts, s[from:]), nil
}

func parseAction(s string) (Action, error) {
	if name, rest, ok := strings.Cut(s, "("); ok && !strings.Contains(name, ":") {
		arg, closed := strings.CutSuffix(rest, ")")
		if !closed {
			return nil, fmt.Errorf("not closed")
		}
		return parseCall(name, arg)
	}
	name, arg, _ := strings.Cut(s, ":")
	switch strings.ToLower(name) {
	case "in_port":
		return OutputInPort(), nil
	case "normal":
		return Output(PortNormal), nil
	case "local":
		return Output(PortLocal), nil
	case "controller":
		most := uint16(0xffff)
		if arg == "" {
			return Controller(most), nil
		}
		err := parseUint(arg, &most)
		return Controller(most), err
	case "pop_vlan", "strip_vlan":
		return PopVLAN(), nil
	case "dec_ttl":
		return DecTTL(), nil
	case "push_vlan":
		if arg != "0x8100" {
			return nil, fmt.Errorf("only 0x8100 is supported")
		}
		return PushVLAN(), nil
	case "output":
		if strings.Contains(arg, "[") {
			f, err := parseSubfield(arg)
			return OutputField(f), err
		}
		var port uint32
		err := parseUint(arg, &port)
		return Output(port), err
	case "group":
		var id uint32
		err := parseUint(arg, &id)
		return ToGroup(id), err
	case "goto_table":
		var table uint8
		err := parseUint(arg, &table)
		return Goto(table), err
	case "set_field":
		return parseSetField(arg)
	case "load":
		m, err := parseLoad(arg)
		return SetField(m), err
	case "move":
		from, to, _ := strings.Cut(arg, "->")
		src, err := parseSubfield(from)
		if err != nil {
			return nil, err
		}
		dst, err := parseSubfield(to)
		return Move(src, dst), err
	}
	var port uint32
	if err := parseUint(s, &port); err != nil {
		return nil, fmt.Errorf("no such action")
	}
	return Output(port), nil
}

func parseCall(name, arg string) (Action, error) {
	switch name {
	case "resubmit":
		table, ok := strings.CutPrefix(arg, ",")
		if !ok {
			return nil, fmt.Errorf("only resubmit(,table) is supported")
		}
		var t uint8
		err := parseUint(table, &t)
		return Resubmit(t), err
	case "conjunction":
		var c ConjunctionAction
		id, rest, _ := strings.Cut(arg, ",")
		k, n, _ := strings.Cut(rest, "/")
		if parseUint(id, &c.ID) != nil || parseUint(k, &c.Clause) != nil || parseUint(n, &c.N) != nil {
			return nil, fmt.Errorf("want conjunction(id,k/n)")
		}
		return c, nil
	case "ct":
		return parseCT(arg)
	case "learn":
		return parseLearn(arg)
	case "unknown":
		wire, err := hex.DecodeString(strings.TrimPrefix(arg, "0x"))
		if err == nil && len(wire) == 0 {
			err = fmt.Errorf("empty")
		}
		return UnknownAction{string(wire)}, err
	}
	return nil, fmt.Errorf("no such action")
}

func parseSetField(s string) (Action, error) {
	value, name, ok := strings.Cut(s, "->")
	if !ok {
		return nil, fmt.Errorf("want value->field")
	}
	f, ok := FieldByName(name)
	if !ok {
		return nil, fmt.Errorf("no field %q", name)
	}
	m, err := parseConstraint(f, value)
	return SetField(m), err
}

// parseLoad reads "number->field[a..b]".
func parseLoad(s string) (FieldMatch, error) {
	number, to, ok := strings.Cut(s, "->")
	if !ok {
		return FieldMatch{}, fmt.Errorf("want number->field[]")
	}
	dst, err := parseSubfield(to)
	if err != nil {
		return FieldMatch{}, err
	}
	v, err := parseNumber(number, dst.Size)
	if err != nil {
		return FieldMatch{}, err
	}
	// Shift the number to its place in the field.
	n, size := dst.Field.Bytes(), (dst.Size+7)/8
	value, mask := make([]byte, n), make([]byte, n)
	for i := range dst.Size {
		at := dst.Offset + i
		mask[n-1-at/8] |= 1 << (at % 8)
		value[n-1-at/8] |= (v[size-1-i/8] >> (i % 8) & 1) << (at % 8)
	}
	return NewFieldMatch(dst.Field, value, mask), nil
}

func parseCT(s string) (Action, error) {
	var o CTOptions
	parts, err := splitTop(s)
	if err != nil {
		return nil, err
	}
	for _, p := range parts {
		name, value, _ := strings.Cut(p, "=")
		switch {
		case p == "":
		case p == "commit":
			o.Commit = true
		case p == "force":
			o.Force = true
		case name == "table":
			o.HasTable = true
			err = parseUint(value, &o.Table)
		case name == "zone" && strings.Contains(value, "["):
			var f Subfield
			f, err = parseSubfield(value)
			o.ZoneField = &f
		case name == "zone":
			err = parseUint(value, &o.Zone)
		case p == "nat":
			o.NAT = &NAT{}
		case strings.HasPrefix(p, "nat(") && strings.HasSuffix(p, ")"):
			o.NAT, err = parseNAT(p[4 : len(p)-1])
		case strings.HasPrefix(p, "exec(") && strings.HasSuffix(p, ")"):
			o.Exec, err = parseActions(p[5 : len(p)-1])
		default:
			err = fmt.Errorf("no such argument")
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p, err)
		}
	}
	return CT(o), nil
}

func parseNAT(s string) (*NAT, error) {
	n := &NAT{}
	parts, err := splitTop(s)
	if err != nil {
		return nil, err
	}
	for _, p := range parts {
		name, value, ranged := strings.Cut(p, "=")
		switch name {
		case "src":
			n.Src = true
		case "dst":
			n.Dst = true
		case "random":
			n.Random = true
		case "hash":
			n.Hash = true
		case "persistent":
			n.Persistent = true
		default:
			return nil, fmt.Errorf("no such argument %q", p)
		}
		if ranged {
			if err := n.parseRange(value); err != nil {
				return nil, err
			}
		}
	}
	*n = n.Normal()
	return n, nil
}

// parseRange reads "10.0.0.1-10.0.0.9:80-90" and "[fd00::1]-[fd00::9]:80".
func (n *NAT) parseRange(s string) error {
	rest, err := cutAddr(s, &n.Min)
	if err != nil {
		return err
	}
	if high, ok := strings.CutPrefix(rest, "-"); ok {
		if rest, err = cutAddr(high, &n.Max); err != nil {
			return err
		}
	}
	if rest == "" {
		return nil
	}
	ports, ok := strings.CutPrefix(rest, ":")
	if !ok {
		return fmt.Errorf("%q after an address", rest)
	}
	low, high, ranged := strings.Cut(ports, "-")
	if err := parseUint(low, &n.PortMin); err != nil {
		return err
	}
	if ranged {
		return parseUint(high, &n.PortMax)
	}
	return nil
}

// cutAddr reads the address that s begins with; with ports behind it, an IPv6
// address is in brackets.
func cutAddr(s string, to *netip.Addr) (rest string, err error) {
	text := s
	if inside, ok := strings.CutPrefix(s, "["); ok {
		if text, rest, ok = strings.Cut(inside, "]"); !ok {
			return "", fmt.Errorf("%q is not closed", s)
		}
	} else {
		end := strings.IndexAny(s, "-")
		if dot := strings.IndexByte(s, '.'); dot >= 0 && strings.Count(s, ":") <= 1 {
			end = strings.IndexAny(s, "-:")
		}
		if end >= 0 {
			text, rest = s[:end], s[end:]
		}
	}
	a, err := netip.ParseAddr(text)
	if err == nil && a.Zone() != "" {
		err = fmt.Errorf("%q has a zone", text)
	}
	*to = a.Unmap()
	return rest, err
}

func parseLearn(s string) (Action, error) {
	l := LearnSpec{Priority: 32768}
	for p := range strings.SplitSeq(s, ",") {
		name, value, hasValue := strings.Cut(p, "=")
		var err error
		switch {
		case name == "table":
			err = parseUint(value, &l.Table)
		case name == "priority":
			err = parseUint(value, &l.Priority)
		case name == "idle_timeout":
			err = parseUint(value, &l.IdleTimeout)
		case name == "hard_timeout":
			err = parseUint(value, &l.HardTimeout)
		case name == "cookie":
			l.Cookie, err = strconv.ParseUint(value, 0, 64)
		case p == "delete_learned":
			l.DeleteLearned = true
		case strings.HasPrefix(p, "load:"):
			err = l.parseLoad(p[5:])
		case hasValue:
			f, ok := FieldByName(name)
			if !ok {
				return nil, fmt.Errorf("no field %q", name)
			}
			var m FieldMatch
			m, err = parseConstraint(f, value)
			l.Match = append(l.Match, m)
		default:
			var f Subfield
			if f, err = parseSubfield(p); err == nil && f != f.Field.Whole() {
				err = fmt.Errorf("not a whole field")
			}
			l.Copy = append(l.Copy, f.Field)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p, err)
		}
	}
	return Learn(l), nil
}

func (l *LearnSpec) parseLoad(s string) error {
	from, to, _ := strings.Cut(s, "->")
	if !strings.Contains(from, "[") {
		m, err := parseLoad(s)
		l.Load = append(l.Load, m)
		return err
	}
	src, err := parseSubfield(from)
	if err != nil {
		return err
	}
	dst, err := parseSubfield(to)
	l.LoadFrom = append(l.LoadFrom, LearnLoad{src, dst})
	return err
}
