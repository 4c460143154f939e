package ovs

import (
	"fmt"
	"slices"
	"strings"
)

// A Stage is a named table of a [Pipeline].
type Stage struct {
	Name  string
	Table uint8
	// Purpose is a line for people; it may be empty.
	Purpose string
}

// A Pipeline gives the tables of a bridge names, in the order that packets
// pass them, and with [Pipeline.WithNames] also registers, zones and features.
// Make one with [NewPipeline]; it is immutable.
type Pipeline struct {
	stages []Stage
	names  Names
}

// NewPipeline checks that stages have names of their own and ascending tables
// 0 to 254, and takes a copy.
func NewPipeline(stages []Stage) (Pipeline, error) {
	for i, s := range stages {
		fault := ""
		switch {
		case s.Name == "" || strings.ContainsAny(s.Name, " \t\n"):
			fault = "the name is empty or has spaces"
		case s.Table == 255:
			fault = "255 is not a table"
		case i > 0 && s.Table <= stages[i-1].Table:
			fault = fmt.Sprintf("not after table %d of %q", stages[i-1].Table, stages[i-1].Name)
		case slices.ContainsFunc(stages[:i], func(o Stage) bool { return o.Name == s.Name }):
			fault = "another stage has the name"
		}
		if fault != "" {
			return Pipeline{}, fmt.Errorf("ovs: pipeline: stage %q, table %d: %w: %s", s.Name, s.Table, ErrInvalid, fault)
		}
	}
	return Pipeline{stages: slices.Clone(stages)}, nil
}

// Stages returns a copy of the stages in order.
func (p Pipeline) Stages() []Stage { return slices.Clone(p.stages) }

// Table returns the table of a stage.
func (p Pipeline) Table(name string) (uint8, bool) {
	i := slices.IndexFunc(p.stages, func(s Stage) bool { return s.Name == name })
	if i < 0 {
		return 0, false
	}
	return p.stages[i].Table, true
}

// Name returns the name of a table's stage; a table without one is "table 7".
func (p Pipeline) Name(table uint8) string {
	i := slices.IndexFunc(p.stages, func(s Stage) bool { return s.Table == table })
	if i < 0 {
		return fmt.Sprintf("table %d", table)
	}
	return p.stages[i].Name
}

// Next returns the table of the stage after a stage.
func (p Pipeline) Next(name string) (uint8, bool) {
	i := slices.IndexFunc(p.stages, func(s Stage) bool { return s.Name == name })
	if i < 0 || i+1 == len(p.stages) {
		return 0, false
	}
	return p.stages[i+1].Table, true
}

// String returns one line a stage: table, name, purpose.
func (p Pipeline) String() string {
	width := 0
	for _, s := range p.stages {
		width = max(width, len(s.Name))
	}
	var b strings.Builder
	for _, s := range p.stages {
		b.WriteString(strings.TrimRight(fmt.Sprintf("%3d  %-*s  %s", s.Table, width, s.Name, s.Purpose), " ") + "\n")
	}
	return b.String()
}
