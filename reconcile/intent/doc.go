// Package intent is a store of tagged, revisioned objects: what should be, as told by its clients.
//
// An [Object] has a resource type, an id, tags and the fields of its kind as JSON. A [Store] lists,
// changes and watches objects. Every change of an object takes the next revision of the store, so
// that "nothing was written" is a comparison of two numbers, and a watch is resumed by naming the
// last revision seen. A put of what is already there changes nothing and takes no revision.
//
//	store, err := intent.OpenBolt("/var/lib/tierloom/intent.db")
//	...
//	mux.Handle("/api/v1/intent/", http.StripPrefix("/api/v1/intent", intent.NewHandler(store, intent.Config{})))
//
//	client := intent.NewClient("https://manager:8443/api/v1/intent", httpClient) // a Store as well
//	_, err = client.Apply(ctx, []intent.Change{intent.Put(intent.Object{ResourceType: "Segment", ID: "web"})})
//	err = intent.Mirror(ctx, client, intent.Query{ResourceType: "Segment"}, func(s intent.Snapshot) {
//		// called with all segments, and again after every change
//	})
//
// There are three stores: [Memory], [Bolt] (a file, durable once Apply returns) and [Client] (a store
// behind a [Handler] on another host). intenttest.TestStore is the contract all of them pass.
//
// # Revisions and epochs
//
// Revisions count from 1 and mean something within one epoch, the random name of one history. A
// Memory has a new epoch each time, a Bolt keeps its own for the life of its file. A watch that
// names a revision of another epoch, one that lies in the future or one whose events are no longer
// kept ends with [ErrCompacted]; the caller lists again and watches from there. [Mirror] does it all.
//
// # Concurrency
//
// Every store, Handler and Client may be used by any number of goroutines. Readers and watchers
// never wait for the disk, and writers never wait for watchers: a watcher reads the kept history at
// its own pace, and one that falls behind it gets ErrCompacted. Objects are copied on the way in and
// out; what a call returns belongs to the caller.
//
// # Errors
//
// Errors are [*Error] values that wrap one of ErrInvalid, ErrConflict, ErrNotFound, ErrCompacted,
// ErrForbidden and ErrUnavailable, and name the operation, the object and, for invalid input, the
// field; they come through HTTP unharmed. A store that cannot be reached is ErrUnavailable, never ErrNotFound.
// After ErrUnavailable from Apply the outcome is unknown; the same changes may be applied again.
package intent
