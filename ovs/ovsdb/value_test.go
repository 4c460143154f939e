package ovsdb

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
)

func TestDecodeValue(t *testing.T) {
	const id = "550e8400-e29b-41d4-a716-446655440000"
	for _, tc := range []struct {
		in   string
		want any
	}{
		{`"a"`, "a"},
		{`true`, true},
		{`-3`, int64(-3)},
		{`9223372036854775807`, int64(math.MaxInt64)},
		{`1.5`, 1.5},
		{`1e3`, 1000.0},
		{`["uuid","550E8400-E29B-41D4-A716-446655440000"]`, UUID(id)},
		{`["named-uuid","x"]`, NamedUUID("x")},
		{`["set",[]]`, Set{}},
		{`["set",["a",["uuid","` + id + `"]]]`, Set{"a", UUID(id)}},
		{`["map",[["a",1],["b",2]]]`, Map{"a": int64(1), "b": int64(2)}},
	} {
		got, err := DecodeValue([]byte(tc.in))
		require.NoError(t, err, tc.in)
		require.Empty(t, cmp.Diff(tc.want, got), tc.in)
		again, err := EncodeValue(got)
		require.NoError(t, err)
		back, err := DecodeValue(again)
		require.NoError(t, err)
		require.True(t, Equal(got, back), tc.in)
	}
	for _, bad := range []string{
		``, `null`, `{}`, `[]`, `["uuid","x"]`, `["uuid",1]`, `["set",1]`, `["set",[["set",[]]]]`, `["set",[null]]`,
		`["map",[["a"]]]`, `["map",[["a",1],["a",2]]]`, `["map",[["a",["map",[]]]]]`, `["what","x"]`, `1 2`, `1e999`, `"a`,
	} {
		_, err := DecodeValue([]byte(bad))
		require.ErrorIs(t, err, ErrMalformed, bad)
	}
}

func TestEncodeValue(t *testing.T) {
	n := uint16(7)
	for _, tc := range []struct {
		in   any
		want string
	}{
		{"a<b", `"a<b"`},
		{7, `7`},
		{uint8(7), `7`},
		{&n, `["set",[7]]`},
		{(*uint16)(nil), `["set",[]]`},
		{nil, `["set",[]]`},
		{[]string{"b", "a"}, `["set",["b","a"]]`},
		{[]UUID{"x"}, `["set",[["uuid","x"]]]`},
		{map[string]string{"b": "2", "a": "1"}, `["map",[["a","1"],["b","2"]]]`},
		{map[string]UUID{"a": "x"}, `["map",[["a",["uuid","x"]]]]`},
		{map[int]bool{10: true, 9: false}, `["map",[[9,false],[10,true]]]`},
	} {
		got, err := EncodeValue(tc.in)
		require.NoError(t, err)
		require.Equal(t, tc.want, string(got))
	}
	for _, bad := range []any{math.NaN(), math.Inf(1), uint64(math.MaxUint64), struct{}{}, []any{nil}, [][]string{{}}, make(chan int)} {
		_, err := EncodeValue(bad)
		require.ErrorIs(t, err, ErrMalformed)
	}
}

type mode string

type sample struct {
	ID      UUID             `ovsdb:"_uuid"`
	Name    string           `ovsdb:"name"`
	Mode    *mode            `ovsdb:"mode,enum=secure|standalone"`
	Ports   []UUID           `ovsdb:"ports"`
	Stats   map[string]int64 `ovsdb:"stats"`
	VLAN    *uint16          `ovsdb:"vlan"`
	Level   float64          `ovsdb:"level"`
	On      bool             `ovsdb:"on,omitempty"`
	Ignored int
}

func TestMarshalUnmarshal(t *testing.T) {
	secure, vlan := mode("secure"), uint16(5)
	in := sample{ID: "u", Name: "n", Mode: &secure, Ports: []UUID{"a", "b"}, Stats: map[string]int64{"rx": 1}, VLAN: &vlan, Level: 2}
	row, err := Marshal(&in)
	require.NoError(t, err)
	require.Equal(t, Row{"name": "n", "mode": Set{"secure"}, "ports": Set{UUID("a"), UUID("b")}, "stats": Map{"rx": int64(1)},
		"vlan": Set{int64(5)}, "level": 2.0}, row)
	row["_uuid"], row["level"] = UUID("u"), int64(2) // as a server writes it
	out := sample{On: true, Ignored: 3}
	require.NoError(t, Unmarshal(row, &out))
	in.Ignored = 3
	require.Empty(t, cmp.Diff(in, out), "every tagged field is set, others are left alone")

	for name, bad := range map[string]Row{
		"too large":   {"vlan": int64(70000)},
		"negative":    {"vlan": int64(-1)},
		"set of two":  {"name": Set{"a", "b"}},
		"set of none": {"name": Set{}},
		"wrong type":  {"name": int64(1)},
		"uuid":        {"name": UUID("a")},
		"no map":      {"stats": Set{}},
		"map":         {"name": Map{}},
		"map element": {"stats": Map{"a": "b"}},
		"enum":        {"mode": "open"},
	} {
		require.ErrorIs(t, Unmarshal(bad, &sample{}), ErrMalformed, name)
	}
	open := mode("open")
	_, err = Marshal(sample{Mode: &open})
	require.EqualError(t, err, `ovsdb: marshal ovsdb.sample: column "mode": malformed: open is not one of secure, standalone`)
	require.Error(t, Unmarshal(row, sample{}))
	require.Error(t, Unmarshal(row, (*sample)(nil)))
	_, err = Marshal((*sample)(nil))
	require.Error(t, err)
	_, err = Marshal(struct {
		A int `ovsdb:"a,what"`
	}{})
	require.ErrorContains(t, err, `unknown tag option "what"`)
}

func TestSchemaNormal(t *testing.T) {
	s, err := ParseSchema([]byte(testSchema))
	require.NoError(t, err)
	cols := s.Tables["T"].Columns
	require.Equal(t, ColumnType{Key: BaseType{Type: "string"}, Min: 0, Max: Unlimited}, cols["tags"].Type)
	require.Equal(t, Set{"a"}, cols["tags"].Type.normal("a"))
	require.Equal(t, "a", cols["name"].Type.normal(Set{"a"}))
	require.Equal(t, 1.0, cols["r"].Type.normal(int64(1)))
	require.Equal(t, Map{}, cols["ids"].Type.normal(Set{}))
	for _, bad := range []string{``, `[]`, `{}`, `{"name":"a","tables":{"T":{"columns":{"c":{"type":1}}}}}`} {
		_, err := ParseSchema([]byte(bad))
		require.ErrorIs(t, err, ErrMalformed, bad)
	}
}

// A difference applied to a set gives what a plain symmetric difference does.
func TestPatchSetProperty(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	typ := ColumnType{Key: BaseType{Type: "integer"}, Min: 0, Max: Unlimited}
	for range 2000 {
		old, diff, want := Set{}, Set{}, map[any]bool{}
		for n := range int64(8) {
			inOld, inDiff := rng.IntN(2) == 0, rng.IntN(2) == 0
			if inOld {
				old = append(old, n)
			}
			if inDiff {
				diff = append(diff, n)
			}
			if inOld != inDiff {
				want[n] = true
			}
		}
		got := typ.patch(old, diff).(Set)
		require.Len(t, got, len(want), "%v patched by %v", old, diff)
		for _, a := range got {
			require.True(t, want[a], "%v patched by %v has %v", old, diff, a)
		}
	}
}
