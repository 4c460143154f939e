package ovs

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// arguments reads "name=value", "name:value" and "name" separated by commas,
// and calls set for each.
func arguments(s string, set func(name, value string) error) error {
	parts, err := splitTop(s)
	if err != nil {
		return err
	}
	for _, p := range parts {
		if p = strings.TrimSpace(p); p == "" {
			continue
		}
		name, value := p, ""
		if i := strings.IndexAny(p, "=:("); i >= 0 && p[i] != '(' {
			name, value = p[:i], p[i+1:]
		}
		if err := set(name, value); err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
	}
	return nil
}

var errArgument = fmt.Errorf("no such argument")

func parseOutput(arg string) (Action, error) {
	if strings.Contains(arg, "[") {
		f, err := parseSubfield(arg)
		return OutputField(f), err
	}
	if !strings.Contains(arg, "=") {
		if port, err := parsePort(arg); err == nil {
			return Output(port), nil
		}
		f, err := parseSubfield(arg)
		if err != nil {
			return nil, fmt.Errorf("%q is neither a port nor a field", arg)
		}
		return OutputField(f), nil
	}
	var a OutputMaxAction
	err := arguments(arg, func(name, value string) (err error) {
		switch name {
		case "port":
			a.Port, err = parsePort(value)
		case "max_len":
			err = parseUint(value, &a.MaxLen)
		default:
			err = errArgument
		}
		return err
	})
	return a, err
}

func parseController(arg string) (Action, error) {
	a := ControllerAction{MaxLen: 0xffff, Reason: ReasonAction}
	if arg != "" && strings.Trim(arg, "0123456789") == "" {
		err := parseUint(arg, &a.MaxLen)
		return a, err
	}
	err := arguments(arg, func(name, value string) (err error) {
		switch name {
		case "max_len":
			err = parseUint(value, &a.MaxLen)
		case "reason":
			i := slices.Index(reasonNames, value)
			if i < 0 {
				return parseUint(value, &a.Reason)
			}
			a.Reason = uint8(i)
		case "id":
			err = parseUint(value, &a.ID)
		case "userdata":
			var data []byte
			data, err = parseDotted(value)
			a.UserData = string(data)
		case "pause":
			a.Pause = true
		case "meter_id":
			err = parseUint(value, &a.Meter)
		default:
			err = errArgument
		}
		return err
	})
	return a, err
}

// parseDotted reads "01.02.ff" or "0102ff".
func parseDotted(s string) ([]byte, error) {
	data, err := hex.DecodeString(strings.ReplaceAll(s, ".", ""))
	if err != nil {
		return nil, fmt.Errorf("%q are not bytes in hexadecimal", s)
	}
	return data, nil
}

func parseResubmit(arg string) (Action, error) {
	p := strings.Split(arg, ",")
	a := ResubmitAction{Table: 255}
	if len(p) == 3 && p[2] == "ct" {
		a.CT = true
	} else if len(p) > 2 {
		return nil, fmt.Errorf("want resubmit(port,table,ct), each of which may be left out")
	}
	if port := strings.TrimSpace(p[0]); port != "" && !strings.EqualFold(port, "in_port") {
		var err error
		if a.Port, err = parsePort(port); err != nil {
			return nil, err
		}
	}
	if len(p) > 1 && p[1] != "" {
		if err := parseUint(strings.TrimSpace(p[1]), &a.Table); err != nil {
			return nil, err
		}
	}
	return a, nil
}

func parseStack(name, arg string) (Action, error) {
	f, err := parseSubfield(arg)
	if name == "push" {
		return StackPush(f), err
	}
	return StackPop(f), err
}

func parseConjunction(arg string) (Action, error) {
	var c ConjunctionAction
	id, rest, _ := strings.Cut(arg, ",")
	k, n, _ := strings.Cut(strings.TrimSpace(rest), "/")
	if parseUint(id, &c.ID) != nil || parseUint(k, &c.Clause) != nil || parseUint(n, &c.N) != nil {
		return nil, fmt.Errorf("want conjunction(id,k/n)")
	}
	return c, nil
}

func parseNested(name, arg string) (Action, error) {
	list, err := parseActions(arg)
	if name == "clone" {
		return CloneAction{list}, err
	}
	return WriteActionsAction{list}, err
}

func parseCheckPktLarger(arg, tail string) (Action, error) {
	var a CheckPktLargerAction
	to, ok := strings.CutPrefix(tail, "->")
	if !ok {
		return nil, fmt.Errorf("want check_pkt_larger(length)->field[bit]")
	}
	err := parseUint(arg, &a.Length)
	if err == nil {
		a.Dst, err = parseSubfield(to)
	}
	return a, err
}

func parseFinTimeout(arg string) (Action, error) {
	var a FinTimeoutAction
	err := arguments(arg, func(name, value string) error {
		switch name {
		case "idle_timeout":
			return parseUint(value, &a.Idle)
		case "hard_timeout":
			return parseUint(value, &a.Hard)
		}
		return errArgument
	})
	return a, err
}

func parseSample(arg string) (Action, error) {
	var a SampleSpec
	err := arguments(arg, func(name, value string) (err error) {
		switch name {
		case "probability":
			err = parseUint(value, &a.Probability)
		case "collector_set_id":
			err = parseUint(value, &a.Collectors)
		case "obs_domain_id":
			err = parseUint(value, &a.Domain)
		case "obs_point_id":
			err = parseUint(value, &a.Point)
		case "sampling_port":
			a.Port, err = parsePort(value)
		case "ingress":
			a.Direction = 1
		case "egress":
			a.Direction = 2
		default:
			err = errArgument
		}
		return err
	})
	return Sample(a), err
}

// parseChoice reads the fields, basis and algorithm that multipath and bundle
// begin with, and returns the rest.
func parseChoice(arg string, algorithms []string, hash *HashFields, basis *uint16, algorithm *uint8) ([]string, error) {
	p := strings.Split(strings.ReplaceAll(arg, " ", ""), ",")
	if len(p) < 4 {
		return nil, fmt.Errorf("want fields,basis,algorithm and more")
	}
	h, a := slices.Index(hashNames, p[0]), slices.Index(algorithms, p[2])
	switch {
	case h < 0:
		return nil, fmt.Errorf("%q is none of %s", p[0], strings.Join(hashNames, ", "))
	case a < 0:
		return nil, fmt.Errorf("%q is none of %s", p[2], strings.Join(algorithms, ", "))
	}
	*hash, *algorithm = HashFields(h), uint8(a)
	return p[3:], parseUint(p[1], basis)
}

func parseMultipath(arg string) (Action, error) {
	var a MultipathSpec
	p, err := parseChoice(arg, multipathNames, &a.Hash, &a.Basis, &a.Algorithm)
	if err == nil && len(p) != 3 {
		err = fmt.Errorf("want fields,basis,algorithm,links,arg,field[]")
	}
	if err == nil {
		err = parseUint(p[0], &a.Links)
	}
	if err == nil {
		err = parseUint(p[1], &a.Arg)
	}
	if err == nil {
		a.Dst, err = parseSubfield(p[2])
	}
	return Multipath(a), err
}

func parseBundle(kind, arg string) (Action, error) {
	var a BundleSpec
	p, err := parseChoice(arg, bundleNames, &a.Hash, &a.Basis, &a.Algorithm)
	if err != nil {
		return nil, err
	}
	if p[0] != "ofport" {
		return nil, fmt.Errorf("%q is not ofport", p[0])
	}
	if p = p[1:]; kind == "bundle_load" && len(p) > 0 {
		if a.Dst, err = parseSubfield(p[0]); err != nil {
			return nil, err
		}
		p = p[1:]
	}
	if len(p) == 0 {
		return nil, fmt.Errorf("no members")
	}
	for i, m := range p {
		if i == 0 {
			label, first, _ := strings.Cut(m, ":")
			if m = first; label != "members" && label != "slaves" {
				return nil, fmt.Errorf("%q, want members", label)
			}
		}
		if m == "" && len(p) == 1 {
			break
		}
		port, err := parsePort(m)
		if err != nil {
			return nil, err
		}
		a.Members = append(a.Members, uint16(port))
	}
	return Bundle(a), nil
}

func parseAlg(s string) (uint16, error) {
	for _, port := range []uint16{21, 69} {
		if s == algText(port) {
			return port, nil
		}
	}
	var port uint16
	return port, parseUint(s, &port)
}

// parseEncap reads "nsh(md_type=2,tlv(0x1000,10,0x1234))", "ethernet" and the like.
func parseEncap(arg string) (Action, error) {
	var a EncapAction
	name, rest, hasProps := strings.Cut(arg, "(")
	found := false
	for typ, n := range packetNames {
		if n == name {
			a.PacketType, found = typ, true
		}
	}
	props, closed := strings.CutSuffix(rest, ")")
	switch {
	case !found:
		return nil, fmt.Errorf("%q is none of ethernet, nsh, mpls, mpls_mc", name)
	case hasProps != closed:
		return nil, fmt.Errorf("not closed")
	}
	parts, err := splitTop(props)
	if err != nil {
		return nil, err
	}
	for _, p := range parts {
		switch inside, isTLV := strings.CutPrefix(p, "tlv("); {
		case p == "":
		case isTLV:
			t, err := parseTLV(strings.TrimSuffix(inside, ")"))
			if err != nil {
				return nil, err
			}
			a.TLVs = append(a.TLVs, t)
		case strings.HasPrefix(p, "md_type="):
			if err := parseUint(p[8:], &a.MDType); err != nil {
				return nil, err
			}
		default:
			return nil, fmt.Errorf("%s: %w", p, errArgument)
		}
	}
	return a, nil
}

func parseTLV(s string) (t NSHTLV, err error) {
	p := strings.Split(s, ",")
	if len(p) != 3 {
		return t, fmt.Errorf("want tlv(class,type,value)")
	}
	if err = parseUint(p[0], &t.Class); err == nil {
		err = parseUint(p[1], &t.Type)
	}
	if err == nil {
		digits := strings.TrimPrefix(p[2], "0x")
		if len(digits)%2 == 1 {
			digits = "0" + digits
		}
		var v []byte
		if v, err = parseDotted(digits); err == nil {
			t.Value = string(v)
		}
	}
	return t, err
}

// parseDecap reads "" or "packet_type(ns=1,type=0x894f)".
func parseDecap(arg string) (Action, error) {
	if arg == "" {
		return Decap(), nil
	}
	inside, ok := strings.CutPrefix(arg, "packet_type(")
	inside, closed := strings.CutSuffix(inside, ")")
	if !ok || !closed {
		return nil, fmt.Errorf("want packet_type(ns=namespace,type=type)")
	}
	var ns, typ uint16
	err := arguments(inside, func(name, value string) error {
		switch name {
		case "ns":
			return parseUint(value, &ns)
		case "type":
			return parseUint(value, &typ)
		}
		return errArgument
	})
	return DecapAction{uint32(ns)<<16 | uint32(typ)}, err
}
