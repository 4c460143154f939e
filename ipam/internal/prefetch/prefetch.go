// Package prefetch has the processor read memory ahead.
package prefetch
