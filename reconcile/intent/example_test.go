package intent_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/tierloom/tierloom/reconcile/intent"
)

func Example() {
	ctx := context.Background()
	store := intent.NewMemory()
	web, err := intent.NewObject("Segment", "web", map[string]any{
		"vni": 4711, "tags": []intent.Tag{{Scope: "ncp/cluster", Tag: "c1"}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for range 2 { // the second time nothing changes, so the revision stays
		rev, err := store.Apply(ctx, []intent.Change{intent.Put(web)})
		fmt.Println(rev, err)
	}
	_, err = store.Apply(ctx, []intent.Change{intent.Delete("Segment", "web").If(7)})
	fmt.Println(errors.Is(err, intent.ErrConflict), err)
	for ev := range store.Watch(ctx, 0, intent.Query{Tag: &intent.Tag{Scope: "ncp/cluster", Tag: "c1"}}) {
		raw, _ := ev.Object.MarshalJSON()
		fmt.Println(ev.Type, string(raw))
		break
	}
	// Output:
	// 1 <nil>
	// 1 <nil>
	// true intent: apply Segment/web: field if_revision: revision conflict: revision 7 asked for, it is at 1
	// put {"resource_type":"Segment","id":"web","tags":[{"scope":"ncp/cluster","tag":"c1"}],"_revision":1,"vni":4711}
}
