package intent

// StoreConfig holds what Memory and Bolt may be told. The zero value is good.
type StoreConfig struct {
	// History is how many changes are kept at least for watches to resume from; 0: 16384.
	History int
	// NewEpoch makes OpenBoltWith start a new epoch, which makes every client list again. Set it
	// once after the file was replaced by an older copy. Memory always has a new epoch.
	NewEpoch bool
}

// Memory is a Store without a disk. Use NewMemory; it must not be copied.
type Memory struct{ *core }

// NewMemory makes an empty store.
func NewMemory() *Memory { return NewMemoryWith(StoreConfig{}) }

// NewMemoryWith makes an empty store with other than default settings.
func NewMemoryWith(cfg StoreConfig) *Memory { return &Memory{newCore(cfg.History)} }

// Close ends all watches, and every later call, with ErrUnavailable. It never fails.
func (m *Memory) Close() error {
	m.close(errClosed)
	return nil
}

var _ Store = (*Memory)(nil)
