package reconcile

import (
	"context"
	"fmt"
	"testing"
)

func BenchmarkDiff(b *testing.B) {
	for _, n := range []int{10, 1_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			state := map[int]int{}
			for i := range n {
				state[i] = i
			}
			b.ReportAllocs()
			for b.Loop() {
				Diff(state, state, func(x, y int) bool { return x == y })
			}
		})
	}
}

func BenchmarkLoop(b *testing.B) {
	l := New(func(context.Context, int) error { return nil }, Config{Workers: 2})
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error)
	go func() { done <- l.Run(ctx) }()
	b.ReportAllocs()
	k := 0
	for b.Loop() {
		k++
		l.Enqueue(k % 1000)
	}
	if err := l.Idle(ctx); err != nil {
		b.Fatal(err)
	}
	cancel()
	<-done
}
