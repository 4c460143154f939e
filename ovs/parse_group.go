package ovs

import (
	"fmt"
	"slices"
	"strings"
)

// ParseGroup reads a group as [Group.String] writes it and as ovs-ofctl(8)
// takes it. A bucket without an id has its place in the list; a select group's
// bucket without a weight has 1. Errors are [ErrInvalid] and name what is wrong.
func ParseGroup(text string) (Group, error) {
	g, err := parseGroup(text)
	if err == nil {
		err = g.Validate()
	}
	if err != nil {
		return Group{}, fmt.Errorf("ovs: parse group %q: %w", text, err)
	}
	return g, nil
}

func parseGroup(text string) (Group, error) {
	var g Group
	parts := strings.Split(text, "bucket=")
	head, err := splitTop(strings.TrimSuffix(strings.TrimSpace(parts[0]), ","))
	if err != nil {
		return g, err
	}
	var hasID, hasType bool
	for _, p := range head {
		name, value, _ := strings.Cut(strings.TrimSpace(p), "=")
		switch {
		case name == "group_id":
			hasID = true
			err = parseUint(value, &g.ID)
		case name == "type":
			hasType = true
			if value == "fast_failover" {
				value = "ff"
			}
			i := slices.Index(groupTypes, value)
			if i < 0 {
				return g, refuse("no group type %q", value)
			}
			g.Type = GroupType(i)
		case name == "selection_method":
			g.Selection = value
		case strings.HasPrefix(p, "fields(") && strings.HasSuffix(p, ")"):
			for n := range strings.SplitSeq(p[7:len(p)-1], ",") {
				f, ok := FieldByName(n)
				if !ok {
					return g, refuse("no field %q", n)
				}
				g.Fields = append(g.Fields, f)
			}
		default:
			return g, refuse("no property %q of a group", p)
		}
		if err != nil {
			return g, refuse("%s: %v", p, err)
		}
	}
	if !hasID || !hasType {
		return g, refuse("group_id or type is missing")
	}
	for i, p := range parts[1:] {
		b, err := parseBucket(strings.TrimSuffix(p, ","), uint32(i), g.Type)
		if err != nil {
			return g, refuse("bucket %d: %v", i, err)
		}
		g.Buckets = append(g.Buckets, b)
	}
	return g, nil
}

func parseBucket(s string, id uint32, t GroupType) (Bucket, error) {
	b := Bucket{ID: id}
	if t == Select {
		b.Weight = 1
	}
	head, actions, ok := strings.Cut(s, "actions=")
	if !ok {
		return b, fmt.Errorf("no actions=")
	}
	for p := range strings.SplitSeq(strings.TrimSuffix(head, ","), ",") {
		var err error
		switch name, value, _ := strings.Cut(p, ":"); name {
		case "":
		case "bucket_id":
			err = parseUint(value, &b.ID)
		case "weight":
			err = parseUint(value, &b.Weight)
		case "watch_port":
			err = parseUint(value, &b.WatchPort)
		default:
			err = fmt.Errorf("no such property")
		}
		if err != nil {
			return b, fmt.Errorf("%s: %w", p, err)
		}
	}
	var err error
	if b.Actions, err = parseActions(actions); err == nil {
		b.Actions, err = packetSoFar{}.expand(b.Actions)
	}
	return b, err
}
