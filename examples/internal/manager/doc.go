// Package manager is the central store and its API: intent objects, leases
// of addresses and ids, each host's span, and what hosts have realized.
//
// One process over bolt. Intent and leases are durable before they are
// acknowledged. Spans and realized state are derived: spans from intent
// ([github.com/tierloom/tierloom/examples/internal/ccp]), realized state
// from the acknowledgements of host agents, which repeat them when they
// reconnect. A restarted manager therefore computes every span before it
// answers the first request.
package manager
