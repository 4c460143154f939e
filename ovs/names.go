package ovs

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Names are what the numbers in a pipeline's flows stand for, beside its tables.
type Names struct {
	Registers []Register
	Zones     []Zone
	Features  []Feature
}

// A Register is a run of bits that carries something from stage to stage: of a
// register, or of the metadata.
type Register struct {
	Name    string
	Field   Subfield
	Purpose string // a line for people; it may be empty
}

// A Zone is a connection tracking zone.
type Zone struct {
	Name string
	Zone uint16
}

// A Feature is a number in cookies made by [MakeCookie].
type Feature struct {
	Name    string
	Feature uint8
}

// WithNames returns the pipeline with names, which it copies. Names and numbers
// that are not their own, and registers that share a bit, are [ErrInvalid].
func (p Pipeline) WithNames(n Names) (Pipeline, error) {
	taken := map[string]bool{}
	use := func(what, name, number string) error {
		fault := ""
		switch {
		case name == "" || strings.ContainsAny(name, " \t\n,"):
			fault = "the name is empty or has spaces or commas"
		case taken[what+" "+name]:
			fault = "another has the name"
		case taken[what+" #"+number]:
			fault = "another has the number"
		}
		if fault != "" {
			return fmt.Errorf("ovs: pipeline: %s %q, %s: %w: %s", what, name, number, ErrInvalid, fault)
		}
		taken[what+" "+name], taken[what+" #"+number] = true, true
		return nil
	}
	for i, r := range n.Registers {
		if !r.Field.valid() {
			return Pipeline{}, fmt.Errorf("ovs: pipeline: register %q: %w: no such bits", r.Name, ErrInvalid)
		}
		if err := use("register", r.Name, r.Field.String()); err != nil {
			return Pipeline{}, err
		}
		for _, o := range n.Registers[:i] {
			if r.Field.shares(o.Field) {
				return Pipeline{}, fmt.Errorf("ovs: pipeline: register %q, %s: %w: shares bits with %q", r.Name, r.Field, ErrInvalid, o.Name)
			}
		}
	}
	for _, z := range n.Zones {
		if err := use("zone", z.Name, fmt.Sprint(z.Zone)); err != nil {
			return Pipeline{}, err
		}
	}
	for _, f := range n.Features {
		if err := use("feature", f.Name, fmt.Sprint(f.Feature)); err != nil {
			return Pipeline{}, err
		}
	}
	p.names = Names{slices.Clone(n.Registers), slices.Clone(n.Zones), slices.Clone(n.Features)}
	return p, nil
}

// shares reports whether two runs have a bit in common.
func (s Subfield) shares(o Subfield) bool {
	return s.Field == o.Field && s.Offset < o.Offset+o.Size && o.Offset < s.Offset+s.Size
}

// Register returns the bits that have a name.
func (p Pipeline) Register(name string) (Subfield, bool) {
	i := slices.IndexFunc(p.names.Registers, func(r Register) bool { return r.Name == name })
	if i < 0 {
		return Subfield{}, false
	}
	return p.names.Registers[i].Field, true
}

// Zone returns the connection tracking zone that has a name.
func (p Pipeline) Zone(name string) (uint16, bool) {
	i := slices.IndexFunc(p.names.Zones, func(z Zone) bool { return z.Name == name })
	if i < 0 {
		return 0, false
	}
	return p.names.Zones[i].Zone, true
}

// Feature returns the number of a feature in cookies.
func (p Pipeline) Feature(name string) (uint8, bool) {
	i := slices.IndexFunc(p.names.Features, func(f Feature) bool { return f.Name == name })
	if i < 0 {
		return 0, false
	}
	return p.names.Features[i].Feature, true
}

var numberText = regexp.MustCompile(`\b(goto_table:|table=|resubmit\(,|zone=|ct_zone=|cookie=)(\d\w*)|\b(?:reg\d+|metadata)\b|\b[NO]XM_\w+\[[^\]]*\]`)

// Describe returns the flow as its String does, with names in the place of
// numbers: of tables, of registers that are whole or moved, of zones, and of
// the cookie's feature. It is for people; a switch does not take it.
func (p Pipeline) Describe(f Flow) string {
	return numberText.ReplaceAllStringFunc(f.String(), func(text string) string {
		part := numberText.FindStringSubmatch(text)
		if part[1] == "" {
			return p.registerName(text)
		}
		n, err := strconv.ParseUint(part[2], 0, 64)
		if err != nil {
			return text
		}
		name := ""
		switch part[1] {
		case "zone=", "ct_zone=":
			name = nameIn(p.names.Zones, func(z Zone) (string, bool) { return z.Name, uint64(z.Zone) == n })
		case "cookie=":
			if name = nameIn(p.names.Features, func(f Feature) (string, bool) { return f.Name, f.Feature == CookieFeature(n) }); name != "" {
				return fmt.Sprintf("owner=%#x,feature=%s,object=%#x", CookieOwner(n), name, CookieObject(n))
			}
		default:
			name = nameIn(p.stages, func(s Stage) (string, bool) { return s.Name, uint64(s.Table) == n })
		}
		if name == "" {
			return text
		}
		return part[1] + name
	})
}

func (p Pipeline) registerName(text string) string {
	name := nameIn(p.names.Registers, func(r Register) (string, bool) {
		return r.Name, r.Field.String() == text || r.Field == r.Field.Field.Whole() && r.Field.Field.String() == text
	})
	if name == "" {
		return text
	}
	return name
}

// nameIn returns the name of the first of the list that is it.
func nameIn[T any](list []T, is func(T) (name string, ok bool)) string {
	for _, v := range list {
		if name, ok := is(v); ok {
			return name
		}
	}
	return ""
}
