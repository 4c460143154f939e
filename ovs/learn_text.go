package ovs

import (
	"fmt"
	"strings"
)

// String returns "learn(table=1,priority=5,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],output:NXM_OF_IN_PORT[])".
func (a LearnAction) String() string {
	p := []string{fmt.Sprintf("table=%d", a.Table)}
	number := func(name string, v uint32) {
		if v != 0 {
			p = append(p, fmt.Sprintf("%s=%d", name, v))
		}
	}
	number("idle_timeout", uint32(a.IdleTimeout))
	number("hard_timeout", uint32(a.HardTimeout))
	number("fin_idle_timeout", uint32(a.FinIdleTimeout))
	number("fin_hard_timeout", uint32(a.FinHardTimeout))
	p = append(p, fmt.Sprintf("priority=%d", a.Priority))
	if a.SendFlowRemoved {
		p = append(p, "send_flow_rem")
	}
	if a.DeleteLearned {
		p = append(p, "delete_learned")
	}
	if a.Cookie != 0 {
		p = append(p, fmt.Sprintf("cookie=%#x", a.Cookie))
	}
	number("limit", a.Limit)
	if a.Result.Size != 0 {
		p = append(p, "result_dst="+a.Result.String())
	}
	return "learn(" + strings.Join(append(p, a.specs()...), ",") + ")"
}

// specs are the parts of the flow that is learned.
func (l LearnSpec) specs() (p []string) {
	for _, m := range l.Match {
		if s, ok := m.Run(); ok && !m.IsExact() {
			p = append(p, s.String()+"="+m.runText(s))
		} else {
			p = append(p, m.String())
		}
	}
	for _, f := range l.Copy {
		p = append(p, f.Whole().String())
	}
	for _, m := range l.MatchFrom {
		if m.Src == m.Dst {
			p = append(p, m.Dst.String())
		} else {
			p = append(p, m.Dst.String()+"="+m.Src.String())
		}
	}
	for _, m := range l.Load {
		s, _ := m.Run()
		p = append(p, fmt.Sprintf("load:%s->%s", m.runText(s), s))
	}
	for _, m := range l.LoadFrom {
		p = append(p, fmt.Sprintf("load:%s->%s", m.Src, m.Dst))
	}
	for _, s := range l.Output {
		p = append(p, "output:"+s.String())
	}
	return p
}
