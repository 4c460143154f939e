package ovsdb

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// jagged reads a random number of bytes at a time.
type jagged struct {
	r   io.Reader
	rnd *rand.Rand
	max int
}

func (j jagged) Read(p []byte) (int, error) { return j.r.Read(p[:1+j.rnd.IntN(min(j.max, len(p)))]) }

// randomJSON writes a value of at most so many levels.
func randomJSON(rnd *rand.Rand, depth int) any {
	switch n := rnd.IntN(12); {
	case depth == 0 || n < 2:
		return strings.Repeat([]string{`a`, `"`, `\`, `{`, `]`, "é"}[rnd.IntN(6)], rnd.IntN(40))
	case n < 3:
		return rnd.IntN(1000)
	case n < 8:
		list := make([]any, rnd.IntN(6))
		for i := range list {
			list[i] = randomJSON(rnd, depth-1)
		}
		return list
	}
	object := map[string]any{}
	for range rnd.IntN(6) {
		object[fmt.Sprintf(`k%d"{`, rnd.IntN(50))] = randomJSON(rnd, depth-1)
	}
	return object
}

// TestFramer cuts streams of random messages, large ones among them, received
// in pieces of random size: each comes as it was sent, and skipping a part with
// what the framer knows ends where reading it does.
func TestFramer(t *testing.T) {
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		var stream bytes.Buffer
		var sent []string
		for range 1 + rnd.IntN(8) {
			value := any(map[string]any{"result": randomJSON(rnd, 7)})
			if rnd.IntN(8) == 0 {
				list := make([]any, 600)
				for i := range list {
					list[i] = randomJSON(rnd, 3)
				}
				value = map[string]any{"params": list}
			}
			data, err := encodeJSON(value)
			require.NoError(t, err)
			stream.Write(data)
			stream.WriteString(strings.Repeat(" \n", rnd.IntN(3)))
			sent = append(sent, string(data))
		}
		f := &framer{r: jagged{&stream, rnd, 1 << rnd.IntN(18)}, max: 1 << 26}
		for i, want := range sent {
			text, err := f.read()
			require.NoError(t, err, "seed %d, message %d", seed, i)
			require.Equal(t, want, string(text.rest()), "seed %d, message %d", seed, i)
			require.NoError(t, checkSkip(text), "seed %d, message %d", seed, i)
		}
		_, err := f.read()
		require.Equal(t, io.EOF, err, "seed %d", seed)
	}
}

// checkSkip skips each part, and each part of that.
func checkSkip(text scanner) error {
	var err error
	switch text.peek() {
	case '{':
		err = text.object(func([]byte) error { return checkPart(&text) })
	case '[':
		err = text.array(func() error { return checkPart(&text) })
	default:
		return nil
	}
	if err == nil {
		err = text.end()
	}
	return err
}

func checkPart(text *scanner) error {
	read := *text
	want, err := read.raw()
	if err != nil {
		return err
	}
	part, err := text.skip()
	if err != nil {
		return err
	}
	if !bytes.Equal(want, part.rest()) {
		return fmt.Errorf("skipped %.100q, want %.100q", part.rest(), want)
	}
	return checkSkip(part)
}

// TestFramerCut ends a stream within a message.
func TestFramerCut(t *testing.T) {
	message := `{"id":"` + strings.Repeat("x", 3*bufferSize) + `"}`
	for _, n := range []int{1, 8, bufferSize - 1, bufferSize, bufferSize + 1, len(message) - 1} {
		f := &framer{r: strings.NewReader(message[:n]), max: 1 << 20}
		_, err := f.read()
		require.ErrorIs(t, err, io.ErrUnexpectedEOF, "%d bytes", n)
	}
	f := &framer{r: strings.NewReader(message), max: len(message) - 1}
	_, err := f.read()
	require.ErrorIs(t, err, ErrTooLarge)
}
