package topology_test

import (
	"math/rand/v2"
	"testing"
)

func BenchmarkSpan(b *testing.B) {
	m := random(rand.New(rand.NewPCG(1, 1)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.Span("h1"); err != nil {
			b.Fatal(err)
		}
	}
}
