package boltstore

import "errors"

// Move moves the journal to the database.
func (s *Store) Move() error { return s.move() }

// MoveAt sets how long a journal is when it is moved.
func (s *Store) MoveAt(size int64) {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.leastMove, s.moveAt = size, size
}

// Recent returns how many records are in the journal alone.
func (s *Store) Recent() int {
	s.turn.Lock()
	defer s.turn.Unlock()
	return s.recent.count + s.frozen.count
}

// JournalEnd returns where the last batch of the journal ends.
func (s *Store) JournalEnd() int {
	s.writing.Lock()
	defer s.writing.Unlock()
	return int(s.journal.end)
}

// Crash leaves the files as they are.
func (s *Store) Crash() error {
	s.stop()
	return errors.Join(s.journal.file.Close(), s.db.Close())
}
