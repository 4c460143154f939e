package policytest

import (
	"context"
	"math/rand/v2"
	"testing"

	"github.com/tierloom/tierloom/policy"
)

// A Backend enforces a program at the pods of a lab that have ports.
type Backend interface {
	// Sync puts a program in force at the ports with some ids (of pods 0 to 3), and no others.
	Sync(ctx context.Context, prog *policy.Program, ports []string) error
	// Apply makes a change to the program in force.
	Apply(ctx context.Context, change policy.Change) error
}

// A Config says what kind of backend it is.
type Config struct {
	// Routed is that the lab's namespace routes between pods; else it has to
	// forward frames, to hardware addresses of pods.
	Routed bool
	// Worlds and Updates are how many there are, unless the environment says. Default 30 and 100.
	Worlds, Updates int
	// Stateless is that the backend knows stateless sections.
	Stateless bool
	// Keep is that the backend knows sections that keep established connections.
	Keep bool
	// PerEnd is that a packet may be decided about by the state of before where it
	// leaves and by that of after where it arrives.
	PerEnd bool
}

// Run runs the suite. The function makes a Backend for a lab, which has no rules yet.
func Run(t *testing.T, cfg Config, backend func(t testing.TB, lab *Lab) Backend) {
	t.Run("worlds", func(t *testing.T) { worlds(t, cfg, backend) })
	t.Run("established", func(t *testing.T) { established(t, cfg, backend) })
	t.Run("updates", func(t *testing.T) { updates(t, cfg, backend) })
}

// withPorts are the pods whose ports have rules.
var withPorts = []string{"m0", "m1", "m2", "m3"}

func source(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 11)) }
