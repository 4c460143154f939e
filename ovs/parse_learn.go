package ovs

import (
	"fmt"
	"strconv"
	"strings"
)

func parseLearn(s string) (Action, error) {
	l := LearnSpec{Priority: 32768}
	for p := range strings.SplitSeq(s, ",") {
		if err := l.parse(strings.TrimSpace(p)); err != nil {
			return nil, fmt.Errorf("%s: %w", p, err)
		}
	}
	return Learn(l), nil
}

// parse reads one argument.
func (l *LearnSpec) parse(p string) (err error) {
	name, value, hasValue := strings.Cut(p, "=")
	switch name {
	case "table":
		return parseUint(value, &l.Table)
	case "priority":
		return parseUint(value, &l.Priority)
	case "idle_timeout":
		return parseUint(value, &l.IdleTimeout)
	case "hard_timeout":
		return parseUint(value, &l.HardTimeout)
	case "fin_idle_timeout":
		return parseUint(value, &l.FinIdleTimeout)
	case "fin_hard_timeout":
		return parseUint(value, &l.FinHardTimeout)
	case "limit":
		return parseUint(value, &l.Limit)
	case "cookie":
		l.Cookie, err = strconv.ParseUint(value, 0, 64)
		return err
	case "result_dst":
		l.Result, err = parseSubfield(value)
		return err
	case "delete_learned":
		l.DeleteLearned = true
		return nil
	case "send_flow_rem":
		l.SendFlowRemoved = true
		return nil
	}
	if load, ok := strings.CutPrefix(p, "load:"); ok {
		return l.parseLoad(load)
	}
	if port, ok := strings.CutPrefix(p, "output:"); ok {
		s, err := parseSubfield(port)
		l.Output = append(l.Output, s)
		return err
	}
	return l.parseMatch(name, value, hasValue)
}

// parseMatch reads "tcp_dst=80", "NXM_OF_VLAN_TCI[0..11]=5", "NXM_OF_ETH_SRC[]"
// and "NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[]".
func (l *LearnSpec) parseMatch(name, value string, hasValue bool) error {
	if f, ok := FieldByName(name); ok && hasValue && !strings.Contains(value, "[") {
		m, err := parseConstraint(f, value)
		l.Match = append(l.Match, m)
		return err
	}
	dst, err := parseSubfield(name)
	if err != nil {
		return err
	}
	src := dst
	if hasValue {
		if src, err = parseSubfield(value); err != nil {
			m, fault := parseRun(value, dst)
			l.Match = append(l.Match, m)
			return fault
		}
	}
	if src == dst && dst == dst.Field.Whole() {
		l.Copy = append(l.Copy, dst.Field)
	} else {
		l.MatchFrom = append(l.MatchFrom, LearnLoad{src, dst})
	}
	return nil
}

func (l *LearnSpec) parseLoad(s string) error {
	from, to, _ := strings.Cut(s, "->")
	if src, err := parseSubfield(from); err == nil {
		dst, err := parseSubfield(to)
		l.LoadFrom = append(l.LoadFrom, LearnLoad{src, dst})
		return err
	}
	m, err := parseLoad(s)
	l.Load = append(l.Load, m)
	return err
}
