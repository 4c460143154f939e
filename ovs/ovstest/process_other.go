//go:build !linux

package ovstest

import "syscall"

func childAttr() *syscall.SysProcAttr { return nil }
