// Package brief takes locks that are held for a moment.
package brief

import "sync"

// Lock tries so often, and after each counts to so many: together longer than
// somebody has the lock, and shorter than to sleep and be woken.
const (
	tries = 32
	pause = 32
)

// Lock takes a lock that is held for some reads of memory at most. A mutex
// alone puts a goroutine to sleep at once while others are ready to run.
func Lock(mu *sync.Mutex) {
	for range tries {
		if mu.TryLock() {
			return
		}
		for range pause {
		}
	}
	mu.Lock()
}
