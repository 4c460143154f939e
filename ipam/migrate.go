package ipam

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
)

// maxLine is the length of the longest line that Import reads, in bytes.
const maxLine = 1 << 20

// Export writes the records of a store as JSON, one a line, for [Import].
func Export(ctx context.Context, store Store, w io.Writer) error {
	buffered := bufio.NewWriter(w)
	enc := json.NewEncoder(buffered)
	enc.SetEscapeHTML(false)
	_, err := store.Load(ctx, "", func(r Record) error {
		if r.Space == turnSpace {
			return nil
		}
		r.Revision = 0
		return enc.Encode(r)
	})
	if err == nil {
		err = buffered.Flush()
	}
	if err != nil {
		return fmt.Errorf("ipam: export: %w", err)
	}
	return nil
}

// Import puts records, JSON as [Export] writes it, into a store that no
// registry has open; space, value and owner suffice. It returns how many it
// put: records that the store has already are skipped. If a line is faulty, or
// contradicts another or the store, nothing is put, and the error names the
// lines. If the store fails midway, the import may be repeated.
func Import(ctx context.Context, store Store, r io.Reader) (int, error) {
	in := &importer{byLine: map[int]Record{}, values: map[[2]string]int{}, owners: map[[2]string]int{}}
	if err := in.read(r); err != nil {
		return 0, fmt.Errorf("ipam: import: %w", err)
	}
	n, err := in.put(ctx, store)
	if err != nil {
		return n, fmt.Errorf("ipam: import: %w", err)
	}
	return n, nil
}

// An importer collects the records and faults of a file.
type importer struct {
	lines  []int
	byLine map[int]Record
	values map[[2]string]int // line, by space and value
	owners map[[2]string]int // line, by space and owner who owns
	faults []error
	faulty int
}

func (in *importer) fault(line int, format string, args ...any) {
	if in.faulty++; in.faulty <= maxNamed {
		in.faults = append(in.faults, fmt.Errorf("line %d: %w", line, fmt.Errorf(format, args...)))
	}
}

func (in *importer) err() error {
	if in.faulty > maxNamed {
		return errors.Join(append(in.faults, fmt.Errorf("%d lines are faulty", in.faulty))...)
	}
	return errors.Join(in.faults...)
}

func (in *importer) read(r io.Reader) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	n := 0
	for lines.Scan() {
		if n++; len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		dec := json.NewDecoder(bytes.NewReader(lines.Bytes()))
		dec.DisallowUnknownFields()
		var rec Record
		err := dec.Decode(&rec)
		if err == nil && dec.More() {
			err = errors.New("more than one record")
		}
		if err != nil {
			in.fault(n, "%w: %w", ErrInvalid, err)
			continue
		}
		in.add(rec, n)
	}
	if err := lines.Err(); err != nil {
		in.fault(n+1, "%w", err)
	}
	return in.err()
}

func (in *importer) add(rec Record, line int) {
	rec.Revision = 0
	for _, f := range []struct{ field, text string }{{"space", rec.Space}, {"value", rec.Value}, {"owner", rec.Owner}} {
		if !validName(f.text) {
			in.fault(line, "%s %q: %w", f.field, f.text, ErrInvalid)
			return
		}
	}
	if want := written(rec.Value); want != rec.Value {
		in.fault(line, "value %q: %w: want %q", rec.Value, ErrInvalid, want)
	}
	if rec.Space == turnSpace {
		in.fault(line, "space %q: %w", rec.Space, ErrInvalid)
	}
	value, owner := [2]string{rec.Space, rec.Value}, [2]string{rec.Space, rec.Owner}
	if other := in.values[value]; other != 0 {
		in.fault(line, "%w: %s of %q is in line %d, too", ErrConflict, rec.Value, rec.Space, other)
	}
	in.values[value] = line
	if rec.Owned() {
		if other := in.owners[owner]; other != 0 {
			in.fault(line, "%w: %q owns a value of %q in line %d, too", ErrConflict, rec.Owner, rec.Space, other)
		}
		in.owners[owner] = line
	}
	in.byLine[line] = rec
	in.lines = append(in.lines, line)
}

// same reports whether the store has what a line says. A generation that the
// line leaves to the store is any.
func (in *importer) same(line int, old Record) bool {
	rec := in.byLine[line]
	if rec.Generation == 0 {
		rec.Generation = old.Generation
	}
	return sameRecord(rec, old)
}

// written returns an address, subnet or MAC as the package writes it, and
// anything else as it is.
func written(v string) string {
	if a, err := netip.ParseAddr(v); err == nil {
		return a.String()
	}
	if p, err := netip.ParsePrefix(v); err == nil {
		return p.String()
	}
	if m, err := net.ParseMAC(v); err == nil {
		return m.String()
	}
	return v
}

// put compares with the store and commits what it has not.
func (in *importer) put(ctx context.Context, store Store) (int, error) {
	have := map[int]bool{} // lines that the store has
	_, err := store.Load(ctx, "", func(old Record) error {
		line := in.values[[2]string{old.Space, old.Value}]
		if line != 0 {
			have[line] = true
		}
		if owner := in.owners[[2]string{old.Space, old.Owner}]; line == 0 && old.Owned() && owner != 0 {
			in.fault(owner, "%w: %q owns %s of %q", ErrConflict, old.Owner, old.Value, old.Space)
		}
		if line != 0 && !in.same(line, old) {
			in.fault(line, "%w: the store has %s of %q %s", ErrConflict, old.Value, old.Space, old.Why())
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if err := in.err(); err != nil {
		return 0, err
	}
	var changes []Change
	for _, line := range in.lines {
		if !have[line] {
			changes = append(changes, Change{After: in.byLine[line]})
		}
	}
	return commitChunks(ctx, store, changes)
}

func commitChunks(ctx context.Context, store Store, changes []Change) (done int, err error) {
	for len(changes) > 0 {
		n := min(MaxChanges, len(changes))
		if err := store.Commit(ctx, changes[:n]); err != nil {
			return done, err
		}
		done, changes = done+n, changes[n:]
	}
	return done, nil
}
