package intent_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tierloom/tierloom/reconcile/intent"
)

func FuzzObject(f *testing.F) {
	f.Add([]byte(`{"resource_type":"Segment","id":"a","tags":[{"scope":"s","tag":"t"}],"_revision":3,"vni":1,"l":[{"b":1.50,"a":"<\u00e9"}]}`))
	f.Add([]byte(`{"a":[[[[]]]],"b":{"c":null}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var o, again intent.Object
		if json.Unmarshal(raw, &o) != nil {
			return
		}
		text, err := json.Marshal(o)
		if err != nil {
			t.Fatalf("encode of %q: %v", raw, err)
		}
		if err := json.Unmarshal(text, &again); err != nil {
			t.Fatalf("decode of %q: %v", text, err)
		}
		if o.Validate() == nil && !o.Equal(again) {
			t.Fatalf("%q: %s", raw, cmp.Diff(o, again))
		}
	})
}
