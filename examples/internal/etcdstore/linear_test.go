package etcdstore_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"

	"github.com/tierloom/tierloom/examples/internal/etcdstore/etcdtest"
)

// A request is what a client asks: verb, owner, and an address or "".
type request struct{ verb, owner, address string }

// An outcome is what it gets: a word, and an address if that is "ok".
type outcome struct{ word, address string }

// leaseModel says what a single pool would answer. Its state is what owners
// hold, as "owner=address" in order.
var leaseModel = porcupine.Model{
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		held := parse(state.(string))
		ok := step(held, input.(request), output.(outcome))
		return ok, format(held)
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprint(input, " -> ", output) },
}

func parse(state string) map[string]string {
	held := map[string]string{}
	for _, f := range strings.Fields(state) {
		owner, address, _ := strings.Cut(f, "=")
		held[owner] = address
	}
	return held
}

func format(held map[string]string) string {
	var out []string
	for _, owner := range slices.Sorted(maps.Keys(held)) {
		out = append(out, owner+"="+held[owner])
	}
	return strings.Join(out, " ")
}

// step reports whether the outcome is one that the request may have, and
// changes what is held.
func step(held map[string]string, in request, out outcome) bool {
	has := held[in.owner]
	if in.verb == "release" {
		delete(held, in.owner)
		return out.word == "ok"
	}
	holder := ""
	for owner, address := range held {
		if address == in.address || in.address == "" && address == out.address {
			holder = owner
		}
	}
	switch out.word {
	case "ok":
		held[in.owner] = out.address
		return (has == "" && holder == "" || has == out.address) && (in.address == "" || in.address == out.address)
	case "in-use":
		return has == "" && holder != ""
	case "conflict":
		return has != "" && has != in.address
	case "exhausted":
		return has == "" && len(held) == 14
	}
	return false
}

// TestModel makes sure that the model refuses what must not be.
func TestModel(t *testing.T) {
	at := func(client int, from, to int64, in request, out outcome) porcupine.Operation {
		return porcupine.Operation{ClientId: client, Input: in, Output: out, Call: from, Return: to}
	}
	a, b := request{"acquire", "a", ""}, request{"acquire", "b", ""}
	for name, c := range map[string]struct {
		want    bool
		history []porcupine.Operation
	}{
		"one after another": {true, []porcupine.Operation{at(0, 0, 1, a, outcome{"ok", "1"}), at(1, 2, 3, b, outcome{"ok", "2"})}},
		"given twice":       {false, []porcupine.Operation{at(0, 0, 1, a, outcome{"ok", "1"}), at(1, 2, 3, b, outcome{"ok", "1"})}},
		"another answer":    {false, []porcupine.Operation{at(0, 0, 1, a, outcome{"ok", "1"}), at(1, 2, 3, a, outcome{"ok", "2"})}},
		"released too late": {false, []porcupine.Operation{
			at(0, 0, 1, a, outcome{"ok", "1"}), at(1, 2, 3, b, outcome{"ok", "1"}), at(0, 4, 5, request{"release", "a", ""}, outcome{"ok", ""}),
		}},
		"released meanwhile": {true, []porcupine.Operation{
			at(0, 0, 1, a, outcome{"ok", "1"}), at(1, 2, 9, b, outcome{"ok", "1"}), at(0, 4, 5, request{"release", "a", ""}, outcome{"ok", ""}),
		}},
		"in use by nobody": {false, []porcupine.Operation{at(0, 0, 1, request{"acquire", "a", "3"}, outcome{"in-use", ""})}},
	} {
		require.Equal(t, c.want, porcupine.CheckOperations(leaseModel, c.history), name)
	}
}

// TestLinearizable has clients of two processes lease the same few addresses
// for the same few owners, and looks for an order of their requests in which a
// single pool would have answered the same.
func TestLinearizable(t *testing.T) {
	server := etcdtest.Start(t, t.TempDir())
	processes := []*process{start(t, server.Endpoint), start(t, server.Endpoint)}
	const clients, requests = 6, 60
	var mu sync.Mutex // protects history
	var history []porcupine.Operation
	var wg sync.WaitGroup
	began := time.Now()
	for client := range clients {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(11, uint64(client)))
			for range requests {
				in := randomRequest(rng)
				call := time.Since(began)
				got := processes[client%2].do(strings.Fields(in.verb + " " + in.owner + " " + in.address)...)
				op := porcupine.Operation{ClientId: client, Input: in, Call: int64(call), Return: int64(time.Since(began))}
				out := outcome{word: got[0]}
				if got[0] == "ok" && len(got) > 1 {
					out.address = got[1]
				}
				op.Output = out
				mu.Lock()
				history = append(history, op)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	result := porcupine.CheckOperationsTimeout(leaseModel, history, time.Minute)
	if result != porcupine.Ok {
		slices.SortFunc(history, func(a, b porcupine.Operation) int { return int(a.Call - b.Call) })
		for _, op := range history {
			t.Logf("%d %9d-%9d %v -> %v", op.ClientId, op.Call, op.Return, op.Input, op.Output)
		}
	}
	require.Equal(t, porcupine.Ok, result)
}

func randomRequest(rng *rand.Rand) request {
	in := request{verb: "acquire", owner: fmt.Sprint("o", rng.IntN(5))}
	switch rng.IntN(6) {
	case 0, 1:
		in.verb = "release"
	case 2, 3:
		in.address = fmt.Sprint("10.0.0.", 1+rng.IntN(4))
	}
	return in
}
