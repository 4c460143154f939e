package ovsdb

import (
	"bytes"
	"testing"
)

// FuzzDecodeValue checks that what decodes encodes, and decodes to the same again.
func FuzzDecodeValue(f *testing.F) {
	for _, s := range []string{`"a"`, `1`, `-1.5`, `["set",["a",2]]`, `["map",[["a",true]]]`,
		`["uuid","550e8400-e29b-41d4-a716-446655440000"]`, `["named-uuid","x"]`, `["set",[["uuid",""]]]`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := DecodeValue(data)
		if err != nil {
			return
		}
		text, err := EncodeValue(v)
		if err != nil {
			t.Fatalf("%s decodes to %#v, which does not encode: %v", data, v, err)
		}
		back, err := DecodeValue(text)
		if err != nil {
			t.Fatalf("%s encodes as %s, which does not decode: %v", data, text, err)
		}
		if !Equal(v, back) {
			t.Fatalf("%s: %#v becomes %#v", data, v, back)
		}
	})
}

// FuzzReceive feeds a Client's decoder whole streams: none may panic.
func FuzzReceive(f *testing.F) {
	for _, s := range []string{
		`{"id":1,"result":[{"uuid":["uuid","550e8400-e29b-41d4-a716-446655440000"]}],"error":null}`,
		`{"id":1,"result":null,"error":{"error":"x"}} {"id":1,"error":"y"}`,
		`{"method":"update3","params":["m1","",{"T":{"550e8400-e29b-41d4-a716-446655440000":{"modify":{"name":"a"}}}}]}`,
		`{"method":"update2","params":["m1",{"T":{"550e8400-e29b-41d4-a716-446655440000":{"initial":{"tags":["set",["a"]]}}}}]}`,
		`{"method":"update","params":["m1",{"T":{"550e8400-e29b-41d4-a716-446655440000":{"new":{"ids":["map",[["a","b"]]]}}}}]}`,
		`{"id":null,"method":"echo","params":[]}`,
	} {
		f.Add([]byte(s))
	}
	schema, err := ParseSchema([]byte(testSchema))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c := &Client{out: make(chan any, len(data)), calls: map[uint64]*call{1: {method: "transact", reply: make(chan reply, 1)}}}
		cache := newCache(c, "m1")
		cache.tables["T"] = &table{columns: schema.Tables["T"].Columns}
		c.monitors = monitorsOf(cache)
		fr := &framer{r: bytes.NewReader(data), max: 1 << 16}
		for {
			text, err := fr.read()
			if err != nil {
				return
			}
			if len(text.rest()) > 1<<16 {
				t.Fatalf("message of %d bytes", len(text.rest()))
			}
			if c.receive(text) != nil {
				return
			}
			_, _ = decodeResults(text.rest(), nil)
		}
	})
}

func monitorsOf(k *Cache) map[string]func(string, scanner) error {
	return map[string]func(string, scanner) error{`"` + k.id + `"`: k.notification}
}

// FuzzScanner checks the one-pass decoder against encoding/json and a tree.
func FuzzScanner(f *testing.F) {
	for _, s := range []string{`"a"`, `-1.5e3`, `01`, `["set",["a",2,true]]`, `[ "map", [["a","b"]]]`, `["map",[["a","b"],["a","c"]]]`,
		`["uuid","550e8400-e29b-41d4-a716-446655440000"]`, `"\u00e9\ud800"`, "\"\x80\"", `null`, `{}`, `["set",[]] `, `["set",[1,]]`, `["map",[[1,2,3]]]`, `1e999`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := DecodeValue(data)
		tree, wantErr := decodeJSON(data)
		var want any
		if wantErr == nil {
			want, wantErr = valueOf(tree)
		}
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("%q: %v, want %v", data, err, wantErr)
		}
		if err == nil && !Equal(got, want) {
			t.Fatalf("%q: %#v, want %#v", data, got, want)
		}
	})
}
