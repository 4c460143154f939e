package ipam

import "sync"

// lock tries lockTries times, and after each counts to lockPause: together
// longer than somebody has the lock, and shorter than to sleep and be woken.
const (
	lockTries = 32
	lockPause = 32
)

// lock takes a lock that is held for some reads of memory at most. A mutex
// alone puts a goroutine to sleep at once while others are ready to run.
func lock(mu *sync.Mutex) {
	for range lockTries {
		if mu.TryLock() {
			return
		}
		for range lockPause {
		}
	}
	mu.Lock()
}
