package boltstore

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
)

// A journal is a head and batches, one for each write. The head is a magic
// word, an identity that the database has too, and their checksum. A batch is
//
//	4 bytes  checksum (CRC-32C) of the identity and of what follows
//	4 bytes  length of the body
//	8 bytes  number, one higher than that of the batch before
//	8 bytes  highest revision that the store has given by then
//	body     changes: the length of a key, the key, the length of what there
//	         is of it now or 0 for nothing, and that
//
// Numbers are big endian, and lengths in the body varints. Zeros may follow the
// last batch, or what is left of batches that the database has and that are
// written over: their numbers are lower, and the head of the first of them is
// zeros before anything is written over it. A batch that was being written in a
// crash is the last, and its checksum does not hold: it is cut off, as its
// callers were never told that it is durable.
const (
	magic    = "tlleases"
	headSize = len(magic) + idSize + 4
	idSize   = 16
	// batchHead is the size of a batch without its body.
	batchHead = 24
	// maxBody is the most that a batch may have.
	maxBody = 256 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// An identity says which database a journal belongs to.
type identity [idSize]byte

func newIdentity() (id identity) {
	_, _ = rand.Read(id[:]) // never fails
	return id
}

func (id identity) head() []byte {
	b := append([]byte(magic), id[:]...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// sum is the checksum of what follows it in a batch.
func (id identity) sum(rest []byte) uint32 {
	return crc32.Update(crc32.Checksum(id[:], castagnoli), castagnoli, rest)
}

// A batch is the changes that are written at once.
type batch struct {
	number, revision uint64
	raw              []byte // all of it; the head is zero until the batch is sealed
}

// newBatch returns one that is empty, with room for so many bytes.
func newBatch(room int) batch { return batch{raw: make([]byte, batchHead, max(room, batchHead))} }

func (b *batch) body() []byte { return b.raw[batchHead:] }

// put adds a change, and returns the key and the record as the batch has them.
func (b *batch) put(key, record []byte) (k, r []byte) {
	b.raw, k = appendBytes(b.raw, key)
	b.raw, r = appendBytes(b.raw, record)
	return k, r
}

// appendBytes appends a length and what has it, which it also returns.
func appendBytes(to, b []byte) (all, appended []byte) {
	to = appendText(to, b)
	return to, slices.Clip(to[len(to)-len(b):])
}

// each passes the changes in order; an empty record deletes.
func (b *batch) each(f func(key, record []byte)) error {
	r := reader{rest: b.body()}
	for len(r.rest) > 0 {
		key, record := r.bytes(), r.bytes()
		if r.err != nil {
			return fmt.Errorf("batch %d: %w", b.number, r.err)
		}
		f(key, record)
	}
	return nil
}

// seal fills in the head.
func (b *batch) seal(id identity) {
	binary.BigEndian.PutUint32(b.raw[4:], uint32(len(b.body())))
	binary.BigEndian.PutUint64(b.raw[8:], b.number)
	binary.BigEndian.PutUint64(b.raw[16:], b.revision)
	binary.BigEndian.PutUint32(b.raw, id.sum(b.raw[4:]))
}

// decodeBatch returns the batch at the start of raw, and its size: 0 if there
// is none that is whole.
func decodeBatch(raw []byte, id identity) (b batch, size int) {
	if len(raw) < batchHead {
		return batch{}, 0
	}
	n := binary.BigEndian.Uint32(raw[4:])
	if n == 0 || uint64(n) > uint64(len(raw)-batchHead) {
		return batch{}, 0
	}
	size = batchHead + int(n)
	if binary.BigEndian.Uint32(raw) != id.sum(raw[4:size]) {
		return batch{}, 0
	}
	return batch{
		number: binary.BigEndian.Uint64(raw[8:]), revision: binary.BigEndian.Uint64(raw[16:]), raw: raw[:size:size],
	}, size
}

var errDamaged = errors.New("damaged")

// parse returns the batches of a journal and where the last ends. If there is a
// later one behind that, the journal is damaged. The database has the batches up
// to a number.
func parse(raw []byte, id identity, applied uint64) (list []batch, end int, err error) {
	if !bytes.HasPrefix(raw, id.head()) {
		return nil, 0, fmt.Errorf("%w, or of another database: its head is not the one that the database names", errDamaged)
	}
	end = headSize
	for {
		b, size := decodeBatch(raw[end:], id)
		if size == 0 {
			break
		}
		if n := len(list); n > 0 {
			before := list[n-1].number
			if b.number <= before {
				break
			}
			if b.number != before+1 {
				return nil, 0, fmt.Errorf("%w: batch %d follows batch %d", errDamaged, b.number, before)
			}
		}
		list = append(list, b)
		end += size
	}
	last := applied
	if n := len(list); n > 0 {
		last = max(last, list[n-1].number)
	}
	if number := laterBatch(raw[end:], id, last); number > 0 {
		return nil, 0, fmt.Errorf("%w: between byte %d and batch %d", errDamaged, end, number)
	}
	return list, end, nil
}

// laterBatch looks for a whole batch that is later than the last, and returns
// its number, or 0.
func laterBatch(rest []byte, id identity, last uint64) uint64 {
	most := last + uint64(len(rest))/batchHead + 1
	for at := 1; at+batchHead <= len(rest); at++ {
		if number := binary.BigEndian.Uint64(rest[at+8:]); number <= last || number > most {
			continue
		}
		if b, size := decodeBatch(rest[at:], id); size > 0 {
			return b.number
		}
	}
	return 0
}

// blank reports whether a file is a journal without a batch, of any database,
// or one whose making was cut short.
func blank(raw []byte) bool {
	if len(bytes.Trim(raw, "\x00")) == 0 {
		return true
	}
	if len(raw) < headSize {
		return bytes.HasPrefix(raw, []byte(magic)[:min(len(raw), len(magic))])
	}
	id := identity(raw[len(magic) : len(magic)+idSize])
	if !bytes.HasPrefix(raw, id.head()) {
		return false
	}
	_, size := decodeBatch(raw[headSize:], id)
	return size == 0
}

// A journal is the file that batches are appended to. It is used by one at a time.
type journal struct {
	file   *os.File
	id     identity
	end    int64  // of what is durable
	number uint64 // of the last batch
	// room is how far the file can be written over without being made longer.
	room int64
	// torn says that the file may have something else after its end.
	torn bool
}

// ahead is how many zeros are put after the batches when there are no more of
// them: to write over them is quicker than to make the file longer each time.
const ahead = 256 << 10

var zeros [ahead]byte

// maxJournal is how long a journal may be.
const maxJournal = mostJournal + maxBody + 1<<20

// readJournal reads what there is of a journal, nothing if there is no file.
func readJournal(path string) (file *os.File, raw []byte, err error) {
	file, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, nil, err
	}
	raw, err = io.ReadAll(io.LimitReader(file, maxJournal+1))
	if err == nil && len(raw) > maxJournal {
		err = fmt.Errorf("%s: %w: longer than %d bytes", path, errDamaged, maxJournal)
	}
	if err != nil {
		return nil, nil, errors.Join(err, file.Close())
	}
	return file, raw, nil
}

// makeJournal makes a journal with a new identity, over a blank one at most.
func makeJournal(path string) (*journal, error) {
	file, raw, err := readJournal(path)
	if err != nil {
		return nil, err
	}
	j := &journal{file: file, id: newIdentity(), end: int64(headSize)}
	if blank(raw) {
		err = j.begin()
	} else {
		err = fmt.Errorf("%s has leases of another database, or of a later state of this one: move it away if that is meant", path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return j, nil
}

func (j *journal) begin() error {
	if err := j.file.Truncate(0); err != nil {
		return err
	}
	if _, err := j.file.WriteAt(j.id.head(), 0); err != nil {
		return err
	}
	return j.file.Sync()
}

// openJournal opens the journal that a database names, which has all batches
// up to a number, and returns those that come after it.
func openJournal(path string, id identity, applied uint64) (*journal, []batch, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, nil, fmt.Errorf("the journal that has the last leases: %w", err)
	}
	file, raw, err := readJournal(path)
	if err != nil {
		return nil, nil, err
	}
	list, end, err := parse(raw, id, applied)
	if err == nil {
		list, err = after(list, applied)
	}
	j := &journal{file: file, id: id, end: int64(end), number: applied + uint64(len(list)), torn: end < len(raw)}
	if err == nil {
		err = j.mend()
	}
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("%s: %w", path, err), file.Close())
	}
	return j, list, nil
}

// after returns the batches after a number, which must not miss one.
func after(list []batch, applied uint64) ([]batch, error) {
	if len(list) == 0 {
		return nil, nil
	}
	first, last := list[0].number, list[len(list)-1].number
	if first > applied+1 || last < applied {
		return nil, fmt.Errorf("it has batches %d to %d and the database those up to %d: one of the two is an old copy", first, last, applied)
	}
	return list[applied+1-first:], nil
}

// append makes a batch durable, or with an error nothing.
func (j *journal) append(b *batch) error {
	if err := j.mend(); err != nil {
		return err
	}
	b.number = j.number + 1
	b.seal(j.id)
	end := j.end + int64(len(b.raw))
	if end > j.room {
		if err := j.lengthen(end); err != nil {
			return err
		}
	}
	_, err := j.file.WriteAt(b.raw, j.end)
	if err == nil {
		err = fdatasync(j.file)
	}
	if err != nil {
		j.torn = true
		return errors.Join(err, j.mend())
	}
	j.end = end
	j.number = b.number
	return nil
}

// lengthen puts zeros after what is about to be the end, if the disk has room
// for them. They are durable when that is.
func (j *journal) lengthen(end int64) error {
	if _, err := j.file.WriteAt(zeros[:], end); err != nil {
		j.torn = true
		return j.mend()
	}
	j.room = end + ahead
	return nil
}

// mend cuts off what a failed write may have left, and all that is behind it.
func (j *journal) mend() error {
	if !j.torn {
		return nil
	}
	if err := j.file.Truncate(j.end); err != nil {
		return err
	}
	if err := j.file.Sync(); err != nil {
		return err
	}
	j.torn, j.room = false, 0
	return nil
}

// clear drops all batches, which the database has by now: others are written
// over them. The first is gone when clear returns, so that it is not whole when
// what is written over it is torn.
func (j *journal) clear() error {
	if j.end == int64(headSize) {
		return nil
	}
	j.end = int64(headSize)
	_, err := j.file.WriteAt(zeros[:batchHead], j.end)
	if err == nil {
		err = fdatasync(j.file)
	}
	if err != nil {
		j.torn = true
	}
	return err
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
