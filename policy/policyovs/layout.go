package policyovs

import (
	"errors"
	"fmt"

	"github.com/tierloom/tierloom/ovs"
	"github.com/tierloom/tierloom/policy"
)

// Errors that faults wrap.
var (
	ErrInvalid = policy.ErrInvalid
	ErrTooMany = errors.New("too many rules")
)

// A Layout says where in a bridge's pipeline the flows go.
type Layout struct {
	// Tables of the stages compiled here.
	Spoofguard, EgressCT, EgressSets, EgressRules, EgressVerdict, IngressCT, IngressSets, IngressRules, IngressVerdict uint8
	// Tables that packets are handed to: after spoofguard, after egress, after ingress.
	ARP, L2, Output uint8
	// Registers 0 to 15: key of the source port, key of the destination port,
	// connection tracking zone, one whose bits 0 and 1 are for [policy.Pass] and
	// 8 to 12 for the -verdict stages, and the number of the rule that decided.
	Source, Dest, Zone, Scratch, Rule int
	// Class is the first of Classes registers that a -sets stage writes for the
	// -rules stage after it. More of them make fewer flows where addresses are
	// in many sets.
	Class, Classes int
	// Generation, below 1<<31, marks the connections that are allowed from now on,
	// in ct_mark. The replies of others are shown to the [Agent]. Change it when
	// what was allowed is not any more, see [Narrows] and [Compiler.Advance].
	Generation uint32
	// Meters that limit the packets to be answered, the copies to be logged, and
	// the replies to be looked at; 0 is none. See [Layout.Meters].
	RejectMeter, LogMeter, ReplyMeter uint32
	// LogDrops logs all packets that are denied, by whatever rule or by none.
	LogDrops bool
	// Owner and the first of the four features of the cookies, see [ovs.MakeCookie].
	Owner, Feature uint8
}

// Defaults of [DefaultLayout].
const (
	DefaultOwner   = 0x74
	DefaultFeature = 0x10
)

// Features in a cookie, counted from Layout.Feature.
const (
	FeatureStage      uint8 = iota // common to a stage; object: hash of the port's id, or 0
	FeatureSpoofguard              // object: hash of the port's id
	FeatureRule                    // object: hash of section and rule
	FeatureClause                  // clauses of conjunctions, addresses of sets; object 0
)

// DefaultLayout returns the layout of a host bridge.
func DefaultLayout() Layout {
	return Layout{
		Spoofguard: 10, ARP: 20, EgressCT: 30, EgressSets: 31, EgressRules: 32, EgressVerdict: 33, L2: 40, IngressCT: 70, IngressSets: 71, IngressRules: 72, IngressVerdict: 73, Output: 80,
		Source: 0, Dest: 1, Zone: 5, Scratch: 6, Rule: 7, Class: 8, Classes: 8,
		RejectMeter: 0x7401, LogMeter: 0x7402, ReplyMeter: 0x7403,
		Owner: DefaultOwner, Feature: DefaultFeature,
	}
}

// RuleCookie returns the cookie of the flows of a rule.
func (l Layout) RuleCookie(r policy.ProgramRule) uint64 {
	return l.cookie(FeatureRule, fmt.Sprintf("%d/%s/%s", len(r.Section), r.Section, r.Rule))
}

// RuleCookies returns cookie and mask of the flows of all rules: those on a
// switch tell [NewCompiler] the priorities that rules have.
func (l Layout) RuleCookies() (cookie, mask uint64) {
	return ovs.MakeCookie(l.Owner, l.Feature+FeatureRule, 0), ovs.MakeCookie(0xff, 0xff, 0)
}

// StageCookie returns the cookie of flows that are of no port and no rule.
func (l Layout) StageCookie() uint64 { return l.cookie(FeatureStage, "") }

func (l Layout) cookie(feature uint8, id string) uint64 {
	var object uint32
	if id != "" {
		object = ovs.ObjectHash(id)
	}
	return ovs.MakeCookie(l.Owner, l.Feature+feature, object)
}

// Validate reports all faults of the layout.
func (l Layout) Validate() error {
	var errs []error
	fault := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("policyovs: layout: %s: %w", fmt.Sprintf(format, args...), ErrInvalid))
	}
	tables := []uint8{l.Spoofguard, l.ARP, l.EgressCT, l.EgressSets, l.EgressRules, l.EgressVerdict, l.L2, l.IngressCT, l.IngressSets, l.IngressRules, l.IngressVerdict, l.Output}
	for i := 1; i < len(tables); i++ {
		if tables[i] <= tables[i-1] {
			fault("tables %v do not increase", tables)
			break
		}
	}
	if l.Output == 255 {
		fault("there is no table 255")
	}
	seen := map[int]bool{}
	registers := []int{l.Source, l.Dest, l.Zone, l.Scratch, l.Rule}
	for i := range min(l.Classes, 16) {
		registers = append(registers, l.Class+i)
	}
	for _, r := range registers {
		if r < 0 || r > 15 || seen[r] {
			fault("register %d is not in 0..15, or used twice", r)
		}
		seen[r] = true
	}
	if l.Classes < 1 || l.Classes > 12 {
		fault("%d registers for classes, not 1 to 12", l.Classes)
	}
	if l.Generation >= markAllowed {
		fault("generation %d is not below 1<<31", l.Generation)
	}
	if l.Feature > 0xff-FeatureClause {
		fault("feature %#x leaves no room for %d", l.Feature, FeatureClause+1)
	}
	return errors.Join(errs...)
}
