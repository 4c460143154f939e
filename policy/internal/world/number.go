package world

import (
	"os"
	"strconv"
	"testing"
)

// Worlds is how many random worlds a test tries: some, or TIERLOOM_WORLDS.
func Worlds(t testing.TB, some uint64) uint64 {
	t.Helper()
	return Number(t, "TIERLOOM_WORLDS", some)
}

// Number reads a number from the environment.
func Number(t testing.TB, name string, otherwise uint64) uint64 {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}
