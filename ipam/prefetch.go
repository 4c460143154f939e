//go:build amd64 || arm64

package ipam

import "unsafe"

// prefetch begins to read the line of memory at p, so that who reads it some
// 100 ns later need not wait. It does nothing else: p may point to what others
// write.
//
//go:noescape
func prefetch(p unsafe.Pointer)
