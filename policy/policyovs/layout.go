package policyovs

import (
	"errors"
	"fmt"

	"github.com/tierloom/tierloom/ovs"
	"github.com/tierloom/tierloom/policy"
)

// Errors that faults wrap.
var (
	ErrInvalid = errors.New("invalid")
	ErrTooMany = errors.New("too many rules")
)

// A Layout says where in a bridge's pipeline the flows go.
type Layout struct {
	// Tables of the stages compiled here.
	Spoofguard, EgressCT, EgressRules, IngressCT, IngressRules uint8
	// Tables that packets are handed to: after spoofguard, after egress, after ingress.
	ARP, L2, Output uint8
	// Registers 0 to 15: key of the source port, key of the destination port,
	// connection tracking zone, and one whose bits 0 and 1 are zero when packets
	// come, for [policy.Pass].
	Source, Dest, Zone, Scratch int
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
	FeatureClause                  // clauses of conjunctions; object 0
)

// DefaultLayout returns the layout of a host bridge.
func DefaultLayout() Layout {
	return Layout{
		Spoofguard: 10, ARP: 20, EgressCT: 30, EgressRules: 31, L2: 40, IngressCT: 70, IngressRules: 71, Output: 80,
		Source: 0, Dest: 1, Zone: 5, Scratch: 6,
		Owner: DefaultOwner, Feature: DefaultFeature,
	}
}

// RuleCookie returns the cookie of the flows of a rule.
func (l Layout) RuleCookie(r policy.ProgramRule) uint64 {
	return l.cookie(FeatureRule, r.Section+"/"+r.Rule)
}

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
	tables := []uint8{l.Spoofguard, l.ARP, l.EgressCT, l.EgressRules, l.L2, l.IngressCT, l.IngressRules, l.Output}
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
	for _, r := range []int{l.Source, l.Dest, l.Zone, l.Scratch} {
		if r < 0 || r > 15 || seen[r] {
			fault("register %d is not in 0..15, or used twice", r)
		}
		seen[r] = true
	}
	if l.Feature > 0xff-FeatureClause {
		fault("feature %#x leaves no room for %d", l.Feature, FeatureClause+1)
	}
	return errors.Join(errs...)
}
