package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"unicode/utf8"
)

// TagLimits are what a store of objects takes; 0 is no limit.
type TagLimits struct {
	Tags  int // tags of an object
	Scope int // bytes of a scope
	Value int // bytes of a tag's value
}

// DefaultTagLimits are those of the public NSX Policy API.
func DefaultTagLimits() TagLimits { return TagLimits{Tags: 30, Scope: 128, Value: 256} }

// An Overflow is a label that limits did not let become the tag of its name.
type Overflow struct {
	Label Tag
	// As is the tag that it became, with a part of the text replaced by its
	// hash; zero if there was no room for it.
	As Tag
}

// String returns "app=web: no room".
func (o Overflow) String() string {
	if o.As == (Tag{}) {
		return fmt.Sprintf("%s=%s: no room", o.Label.Scope, o.Label.Tag)
	}
	return fmt.Sprintf("%s=%s: shortened to %s=%s", o.Label.Scope, o.Label.Tag, o.As.Scope, o.As.Tag)
}

// Tag returns a tag within the limits. What is too long keeps its beginning and
// ends in a hash of the whole, so that different ones stay different. Criteria about
// labels have to use it too.
func (l TagLimits) Tag(scope, value string) Tag {
	return Tag{shorten(scope, l.Scope), shorten(value, l.Value)}
}

// Apply turns labels into tags, after tags of the owner's own, which are all kept.
// Where there is no room for all labels, those whose keys sort first are kept. It
// reports what did not fit, and never fails.
func (l TagLimits) Apply(own []Tag, labels map[string]string) ([]Tag, []Overflow) {
	tags := slices.Clone(own)
	var over []Overflow
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		label := Tag{k, labels[k]}
		if l.Tags > 0 && len(tags) >= l.Tags {
			over = append(over, Overflow{Label: label})
			continue
		}
		t := l.Tag(k, labels[k])
		if t != label {
			over = append(over, Overflow{Label: label, As: t})
		}
		tags = append(tags, t)
	}
	return tags, over
}

// shorten cuts a text to a number of bytes, of which the last 9, if there are
// more, are a dash and a hash.
func shorten(s string, limit int) string {
	if limit == 0 || len(s) <= limit {
		return s
	}
	sum := sha256.Sum256([]byte(s))
	hash := hex.EncodeToString(sum[:4])
	if limit <= len(hash)+1 {
		return hash[:min(limit, len(hash))]
	}
	cut := limit - len(hash) - 1
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "-" + hash
}
