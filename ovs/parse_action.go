package ovs

import (
	"encoding/hex"
	"fmt"
	"net/netip"
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

// parseAction reads "name", "name:arg", "name=arg" or "name(arg)", of which all
// but the last are one way to write the same.
func parseAction(s string) (Action, error) {
	end := strings.IndexAny(s, ":(=")
	if end < 0 {
		return parseCall(s, "", "")
	}
	name, arg, tail := s[:end], s[end+1:], ""
	if s[end] == '(' {
		last := strings.LastIndexByte(arg, ')')
		if last < 0 {
			return nil, fmt.Errorf("not closed")
		}
		arg, tail = arg[:last], arg[last+1:]
	}
	return parseCall(name, arg, tail)
}

// parseCall reads an action with its argument; tail is what follows a parenthesis.
func parseCall(name, arg, tail string) (Action, error) {
	if name == "check_pkt_larger" {
		return parseCheckPktLarger(arg, tail)
	}
	if tail != "" {
		return nil, fmt.Errorf("%q behind the argument", tail)
	}
	if a, ok, err := parsePlain(name, arg); ok {
		return a, err
	}
	if a, ok, err := parseNumbered(name, arg); ok {
		return a, err
	}
	if a, ok, err := parseShorthand(name, arg); ok {
		return a, err
	}
	switch name = strings.ToLower(name); name {
	case "output":
		return parseOutput(arg)
	case "controller":
		return parseController(arg)
	case "resubmit":
		return parseResubmit(arg)
	case "set_field":
		return parseSetField(arg)
	case "load", "reg_load":
		m, err := parseLoad(arg)
		return SetField(m), err
	case "move":
		src, dst, err := parseMove(arg)
		return Move(src, dst), err
	case "push", "pop":
		return parseStack(name, arg)
	case "conjunction":
		return parseConjunction(arg)
	case "ct":
		return parseCT(arg)
	case "learn":
		return parseLearn(arg)
	case "clone", "write_actions":
		return parseNested(name, arg)
	case "multipath":
		return parseMultipath(arg)
	case "bundle", "bundle_load":
		return parseBundle(name, arg)
	case "sample":
		return parseSample(arg)
	case "fin_timeout":
		return parseFinTimeout(arg)
	case "note":
		data, err := parseDotted(arg)
		return Note(data), err
	case "encap":
		return parseEncap(arg)
	case "decap":
		return parseDecap(arg)
	case "delete_field":
		f, ok := FieldByName(arg)
		if !ok {
			return nil, errField(arg)
		}
		return DeleteField(f), nil
	case "write_metadata":
		m, err := parseConstraint(FieldMetadata, arg)
		return WriteMetadata(m.Uint(), number(m.Mask[:8])), err
	case "unknown":
		wire, err := hex.DecodeString(strings.TrimPrefix(arg, "0x"))
		if err == nil && len(wire) == 0 {
			err = fmt.Errorf("empty")
		}
		return UnknownAction{string(wire)}, err
	}
	if arg == "" {
		if port, err := parsePort(name); err == nil {
			return Output(port), nil
		}
	}
	return parseLegacy(name, arg)
}

// parsePlain reads actions that have no argument, or a list of ids.
func parsePlain(name, arg string) (a Action, ok bool, err error) {
	switch name {
	case "pop_vlan", "strip_vlan":
		a = PopVLAN()
	case "dec_mpls_ttl":
		a = DecMPLSTTL()
	case "dec_nsh_ttl":
		a = DecNSHTTL()
	case "pop_queue":
		a = PopQueue()
	case "exit":
		a = Exit()
	case "ct_clear":
		a = CTClear()
	case "clear_actions":
		a = ClearActions()
	case "dec_ttl":
		if arg == "" {
			return DecTTL(), true, nil
		}
		var ids []uint16
		for p := range strings.SplitSeq(strings.TrimSuffix(arg, ","), ",") {
			var id uint16
			if err := parseUint(strings.TrimSpace(p), &id); err != nil {
				return nil, true, err
			}
			ids = append(ids, id)
		}
		return DecTTLTo(ids...), true, nil
	default:
		return nil, false, nil
	}
	if arg != "" {
		err = fmt.Errorf("takes no argument")
	}
	return a, true, err
}

// parseNumbered reads actions whose argument is a number.
func parseNumbered(name, arg string) (a Action, ok bool, err error) {
	var v8 uint8
	var v16 uint16
	var v32 uint32
	switch name {
	case "push_vlan":
		err = parseUint(arg, &v16)
		a = PushVLANAction{v16}
	case "push_mpls":
		err = parseUint(arg, &v16)
		a = PushMPLS(v16)
	case "pop_mpls":
		err = parseUint(arg, &v16)
		a = PopMPLS(v16)
	case "set_mpls_ttl":
		err = parseUint(arg, &v8)
		a = SetMPLSTTL(v8)
	case "mod_nw_ttl", "set_nw_ttl":
		err = parseUint(arg, &v8)
		a = SetTTL(v8)
	case "set_queue":
		err = parseUint(arg, &v32)
		a = SetQueue(v32)
	case "meter":
		err = parseUint(arg, &v32)
		a = Meter(v32)
	case "group":
		err = parseUint(arg, &v32)
		a = ToGroup(v32)
	case "goto_table":
		err = parseUint(arg, &v8)
		a = Goto(v8)
	default:
		return nil, false, nil
	}
	return a, true, err
}

// legacy are OpenFlow 1.0's names for what set_field does.
var legacy = map[string]Field{
	"mod_dl_src": FieldEthSrc, "mod_dl_dst": FieldEthDst, "mod_nw_src": FieldIPv4Src, "mod_nw_dst": FieldIPv4Dst,
	"mod_nw_ecn": FieldIPECN, "set_mpls_label": FieldMPLSLabel, "set_mpls_tc": FieldMPLSTC,
	"set_tunnel": FieldTunID, "set_tunnel64": FieldTunID, "mod_nw_tos": FieldIPTOS,
}

func parseLegacy(name, arg string) (Action, error) {
	f, ok := legacy[name]
	if !ok {
		return nil, fmt.Errorf("no such action")
	}
	m, err := parseConstraint(f, arg)
	if f == FieldIPTOS {
		m = exact(FieldIPDSCP, m.Uint()>>2)
	}
	return SetField(m), err
}

func parseMove(s string) (src, dst Subfield, err error) {
	from, to, _ := strings.Cut(s, "->")
	if src, err = parseSubfield(from); err == nil {
		dst, err = parseSubfield(to)
	}
	return src, dst, err
}

func parseSetField(s string) (Action, error) {
	value, name, ok := strings.Cut(s, "->")
	if !ok {
		return nil, fmt.Errorf("want value->field")
	}
	f, ok := FieldByName(name)
	if !ok {
		return nil, errField(name)
	}
	if name == "in_port" {
		f = FieldNXMInPort
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
	return parseRun(number, dst)
}

// parseRun reads the value of bits of a field.
func parseRun(number string, dst Subfield) (FieldMatch, error) {
	v, err := parseNumber(number, dst.Size)
	if err != nil {
		return FieldMatch{}, err
	}
	return runMatch(v, dst), nil
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
		case name == "alg":
			o.Alg, err = parseAlg(value)
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
