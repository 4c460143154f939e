// Package reconcile turns what should be into what is: a keyed, level-triggered [Loop], [Diff] of
// desired and actual state into a [Plan], [Owner] to tell one's own objects from those of others, and
// [Elector], the shape of leader election.
//
// Nothing here depends on having seen an event. An event only says which key to look at; the function
// of the loop then reads what is desired and what is actual, and applies the difference. Restart is
// the same with every key: list, diff, apply, and write nothing when nothing changed.
//
//	loop := reconcile.New(func(ctx context.Context, namespace string) error {
//		plan := reconcile.DiffOwned(desired(namespace), actual(namespace), sameSegment, ours)
//		return apply(ctx, plan)
//	}, reconcile.Config{Workers: 4})
//	informer.OnChange(func(namespace string) { loop.Enqueue(namespace) })
//	err := loop.Run(ctx)
//
// # Concurrency
//
// A Loop may be used by any number of goroutines. One key is never worked on twice at once; a key
// enqueued while it is being worked on is worked on again afterwards. Different keys run in as many
// workers as configured. Diff, Plan and Owner are pure values.
//
// # Errors
//
// A key whose function fails is tried again after a time that grows with each failure and has jitter,
// alone: other keys go on. A panic in the function is such a failure, a [*PanicError]. [Loop.Failing]
// lists what fails and why.
package reconcile
