package policyovs

import (
	"github.com/tierloom/tierloom/ovs"
	"github.com/tierloom/tierloom/policy"
)

// What a rule writes into bits of register Scratch for the -verdict stage. None
// of them is a drop.
const (
	verdictLog       uint32 = 1 << (8 + iota) // a copy goes to the agent
	verdictReject                             // the packet goes to the agent, which answers it
	verdictAllow                              // else it is denied
	verdictStateless                          // allowed without a connection
	verdictKeep                               // denied, unless it is of a connection that was allowed

	verdictMask uint32 = 0x1f << 8
)

// Copies says in user data what the agent is to do with a packet.
const (
	copyVerdict = "V" // what the registers say
	copyReply   = "R" // a reply of a connection that was allowed by other rules
)

// markAllowed in ct_mark says that the port has allowed the connection; the other
// bits are the generation that did. Connection tracking itself calls what has no
// reply yet new, however often it was allowed.
const markAllowed uint32 = 1 << 31

func (l Layout) mark() uint32 { return l.Generation | markAllowed }

// logLen is as much of a frame as a log is made from. wholeLen is all of it.
const (
	logLen   = 160
	wholeLen = 0xffff
)

// Priorities of the -verdict stage.
const (
	prioKept uint16 = 80 - 10*iota
	prioStateless
	prioInvalid
	prioKnown
	prioFirst
	prioAllowed
	prioRejected
	prioLogged
)

// act is what a rule does; nil is a drop that nobody is told of.
func (c *compiler) act(s stage, r *policy.ProgramRule) []ovs.Action {
	if r.Action == policy.Pass {
		return []ovs.Action{ovs.SetField(ovs.RegMasked(c.l.Scratch, s.passed, s.passed)), ovs.Resubmit(s.rules)}
	}
	return c.decide(s, r, ovs.CookieObject(c.l.RuleCookie(*r)))
}

// decide hands a packet to the -verdict stage with what a rule says, and the
// number of the rule where the agent will ask for it.
func (c *compiler) decide(s stage, r *policy.ProgramRule, number uint32) []ovs.Action {
	var v uint32
	switch {
	case r.Action == policy.Allow && r.Stateless:
		v = verdictAllow | verdictStateless
	case r.Action == policy.Allow:
		v = verdictAllow
	case r.Action == policy.Reject:
		v = verdictReject
	}
	if r.Logged || r.Action != policy.Allow && c.l.LogDrops {
		v |= verdictLog
	}
	if r.Action != policy.Allow && r.Established == policy.Keep {
		v |= verdictKeep
	}
	if v == 0 {
		return nil
	}
	out := []ovs.Action{ovs.SetField(ovs.RegMasked(c.l.Scratch, v, verdictMask))}
	if v&(verdictLog|verdictReject) != 0 {
		out = append(out, ovs.SetField(ovs.Reg(c.l.Rule, number)))
	}
	return append(out, ovs.Goto(s.verdict))
}

// defaults is what becomes of packets of a port that no rule matches.
func (c *compiler) defaults(s stage) []ovs.Action {
	return c.decide(s, &policy.ProgramRule{Action: c.def}, 0)
}

// verdicts is the -verdict stage of one end, for one address family.
func (c *compiler) verdicts(s stage, eth uint16) {
	add := func(prio uint16, bits uint32, state []ovs.FieldMatch, actions ...ovs.Action) {
		c.add(s.verdict, prio, FeatureStage, "", append(state, ovs.EthType(eth), ovs.RegMasked(c.l.Scratch, bits, bits)), actions...)
	}
	log, rejected := c.toAgent(logLen, copyVerdict, c.l.LogMeter), c.toAgent(rejectLen, copyVerdict, c.l.RejectMeter)
	known := match(ovs.CTMarkMasked(markAllowed, markAllowed))
	add(prioKept, verdictKeep, known, c.allow(s)...)
	add(prioStateless+1, verdictAllow|verdictStateless|verdictLog, nil, log, ovs.Goto(s.next))
	add(prioStateless, verdictAllow|verdictStateless, nil, ovs.Goto(s.next))
	// What makes no sense to connection tracking is for stateless rules alone:
	// so are replies of connections that these have allowed.
	c.add(s.verdict, prioInvalid, FeatureStage, "", match(ovs.EthType(eth), ovs.CTState(ovs.CTTrk|ovs.CTInv, 0)))
	add(prioKnown, verdictAllow|verdictLog, known, c.allow(s)...)
	add(prioFirst, verdictAllow|verdictLog, nil, append([]ovs.Action{log}, c.allow(s)...)...)
	add(prioAllowed, verdictAllow, nil, c.allow(s)...)
	add(prioRejected, verdictReject, nil, rejected)
	add(prioLogged, verdictLog, nil, log)
}

// replies lets replies pass in the -sets stage. Those of a connection that was
// allowed before the rules became narrower are shown to the agent, see [Agent].
func (c *compiler) replies(s stage, eth uint16) {
	reply := match(ovs.EthType(eth), ovs.CTState(ovs.CTTrk|ovs.CTEst|ovs.CTRpl, 0))
	c.add(s.sets, prioReply, FeatureStage, "", append(reply, ovs.CTMark(c.l.mark())), ovs.Goto(s.next))
	c.add(s.sets, prioReply-1, FeatureStage, "", reply, c.toAgent(wholeLen, copyReply, c.l.ReplyMeter), ovs.Goto(s.next))
}

// allow commits the connection in the port's zone, as one of this generation,
// and goes on.
func (c *compiler) allow(s stage) []ovs.Action {
	zone := ovs.RegField(c.l.Zone).Bits(0, 16)
	mark := ovs.SetField(ovs.CTMark(c.l.mark()))
	return []ovs.Action{ovs.CT(ovs.CTOptions{Commit: true, ZoneField: &zone, Exec: []ovs.Action{mark}}), ovs.Goto(s.next)}
}

func (c *compiler) toAgent(most uint16, data string, meter uint32) ovs.Action {
	return ovs.ControllerAction{MaxLen: most, Reason: ovs.ReasonAction, UserData: data, Meter: meter}
}

// Advance changes the generation of connections, as [Layout.Generation] has it.
func (c *Compiler) Advance(generation uint32) Delta {
	if c.begun && generation != c.l.Generation {
		for _, f := range c.shared() {
			c.cells.remove(placeOf(&f), nil)
		}
		c.l.Generation = generation
		c.putAll(c.shared())
	}
	c.l.Generation = generation
	return c.cells.drain()
}

// shared returns the flows that are there without any port or rule.
func (c *Compiler) shared() []ovs.Flow {
	b := compiler{l: c.l}
	b.common()
	return b.flows
}

// GenerationOf returns the [Layout.Generation] of flows, such as those on a
// switch; false if they are not those of the layout.
func GenerationOf(flows []ovs.Flow, l Layout) (uint32, bool) {
	for _, f := range flows {
		if f.Table != l.EgressSets || f.Priority != prioReply || f.Cookie != l.cookie(FeatureStage, "") {
			continue
		}
		if m, ok := f.Match.Field(ovs.FieldCTMark); ok {
			return uint32(m.Uint()) &^ markAllowed, true
		}
	}
	return 0, false
}
