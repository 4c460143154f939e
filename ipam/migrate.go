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
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
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
		rec, err := parseRecord(lines.Bytes())
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

// parseRecord reads a line, of which nothing is left out or read as something else.
func parseRecord(line []byte) (rec Record, err error) {
	if !utf8.Valid(line) {
		return Record{}, errors.New("not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&rec); err != nil {
		return Record{}, err
	}
	if _, err := dec.Token(); err != io.EOF {
		return Record{}, errors.New("more than one record")
	}
	return rec, checkFields(line)
}

// checkFields refuses an object that has a field twice, of which the last would count.
func checkFields(object []byte) error {
	dec := json.NewDecoder(bytes.NewReader(object))
	if _, err := dec.Token(); err != nil { // its brace
		return err
	}
	seen := map[string]bool{}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return err
		}
		field := strings.ToLower(fmt.Sprint(name)) // as a decoder takes it
		if seen[field] {
			return fmt.Errorf("field %q twice", field)
		}
		seen[field] = true
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return err
		}
	}
	return nil
}

// checkImported refuses a record that could not be in use, or not be exported.
func checkImported(r *Record) error {
	if err := checkSpace(r.Space); err != nil {
		return err
	}
	if err := checkRecord(r); err != nil {
		return err
	}
	if r.Generation >= maxBrought {
		return fmt.Errorf("generation %d: %w: want less than %d", r.Generation, ErrInvalid, uint64(maxBrought))
	}
	for _, t := range []time.Time{r.Since, r.Released, r.Until} {
		if year := t.UTC().Year(); year < 1 || year > 9999 {
			return fmt.Errorf("time %v: %w: want years 1 to 9999, in UTC", t, ErrInvalid)
		}
	}
	return nil
}

func (in *importer) add(rec Record, line int) {
	rec.Revision = 0
	if err := checkImported(&rec); err != nil {
		in.fault(line, "%w", err)
		return
	}
	if want := written(rec.Value); want != rec.Value {
		in.fault(line, "value %q: %w: want %q", rec.Value, ErrInvalid, want)
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

// written returns an address, subnet, MAC or id as the package writes it, and
// anything else as it is.
func written(v string) string {
	if a, err := netip.ParseAddr(v); err == nil {
		return a.String()
	}
	if p, err := netip.ParsePrefix(v); err == nil {
		return p.Masked().String()
	}
	if m, err := net.ParseMAC(v); err == nil {
		return m.String()
	}
	if n, err := strconv.ParseUint(v, 10, 32); err == nil {
		return strconv.FormatUint(n, 10)
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
	done := 0
	for chunk := range chunks(changes, MaxChanges) {
		if err := store.Commit(ctx, chunk); err != nil {
			return done, err
		}
		done += len(chunk)
	}
	return done, nil
}
