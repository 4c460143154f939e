package policy_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/policy"
)

func TestTagLimits(t *testing.T) {
	l := policy.TagLimits{Tags: 3, Scope: 16, Value: 16}
	own := []policy.Tag{{Scope: "cluster", Tag: "a-cluster-whose-name-is-long"}}
	tags, over := l.Apply(own, map[string]string{"app": "web", "b": strings.Repeat("x", 17), "c": "no room", "d": "none either"})
	require.Equal(t, []policy.Tag{own[0], {Scope: "app", Tag: "web"}, l.Tag("b", strings.Repeat("x", 17))}, tags)
	require.Len(t, over, 3)
	require.Equal(t, "b=xxxxxxxxxxxxxxxxx: shortened to b="+tags[2].Tag, over[0].String())
	require.Equal(t, "c=no room: no room", over[1].String())
	require.Equal(t, "d=none either: no room", over[2].String())

	tags, over = policy.TagLimits{}.Apply(nil, map[string]string{"k": strings.Repeat("y", 1000)})
	require.Empty(t, over)
	require.Len(t, tags, 1)
	tags, over = policy.DefaultTagLimits().Apply(nil, nil)
	require.Empty(t, tags)
	require.Empty(t, over)
}

func TestTagsShortened(t *testing.T) {
	seen := map[string]bool{}
	for i := range 200 {
		s := policy.TagLimits{Scope: 20}.Tag(fmt.Sprint(strings.Repeat("é", 30), i), "").Scope
		require.LessOrEqual(t, len(s), 20)
		require.True(t, strings.HasPrefix(s, "ééééé-"), s)
		require.False(t, seen[s], "two texts have one name")
		seen[s] = true
	}
	for limit := 1; limit < 12; limit++ {
		require.LessOrEqual(t, len(policy.TagLimits{Value: limit}.Tag("", "a value that is too long").Tag), limit)
	}
	require.Equal(t, "fits", policy.TagLimits{Value: 4}.Tag("", "fits").Tag)
}
