// Package deps holds no code: its test holds the import table of the library,
// which root package reaches what.
package deps
