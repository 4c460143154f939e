package reconcile_test

import (
	"context"
	"fmt"

	"github.com/tierloom/tierloom/reconcile"
)

func ExampleDiffOwned() {
	type segment struct {
		cluster string
		vni     int
	}
	desired := map[string]segment{"db": {"c1", 1}, "web": {"c1", 2}, "cache": {"c1", 3}}
	actual := map[string]segment{"db": {"c1", 1}, "web": {"c1", 9}, "old": {"c1", 4}, "theirs": {"c2", 5}}
	plan := reconcile.DiffOwned(desired, actual,
		func(d, a segment) bool { return d == a },
		func(s segment) bool { return s.cluster == "c1" })
	fmt.Print(plan)
	// Output:
	// + cache
	// ~ web
	// - old
}

func ExampleLoop() {
	loop := reconcile.New(func(_ context.Context, namespace string) error {
		fmt.Println("look at", namespace)
		return nil
	}, reconcile.Config{})
	loop.Enqueue("web", "db", "web")

	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- loop.Run(ctx) }()
	_ = loop.Idle(ctx)
	cancel()
	fmt.Println(<-done)
	// Output:
	// look at web
	// look at db
	// context canceled
}
