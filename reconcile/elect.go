package reconcile

import "context"

// Elector elects one leader among replicas. Implementations keep a lease in something the replicas
// share: a Kubernetes Lease, a key of the store.
//
// Lead waits to become leader and then calls lead, whose context ends when leadership is lost or
// ctx ends; Lead returns after lead has, with its error, or that of ctx if it never led. An
// Elector ends the context of lead before any other replica can be elected, as far as clocks allow. Since a
// replica that is stopped and resumed may not notice in time, writes should besides be
// bound to revisions, which fences it.
type Elector interface {
	Lead(ctx context.Context, lead func(context.Context) error) error
}

// ElectorFunc is a function as an Elector.
type ElectorFunc func(ctx context.Context, lead func(context.Context) error) error

// Lead calls the function.
func (f ElectorFunc) Lead(ctx context.Context, lead func(context.Context) error) error {
	return f(ctx, lead)
}

// Alone is the Elector of a replica without others: it leads at once.
type Alone struct{}

// Lead calls lead.
func (Alone) Lead(ctx context.Context, lead func(context.Context) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return lead(ctx)
}
