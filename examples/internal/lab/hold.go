package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// HolderEnv is set in the process that holds a lab which stays up.
const HolderEnv = "TIERLOOM_LAB_HOLDER"

// keptMark ends what a holder prints before it goes on in the background.
const keptMark = "==> take it down with: make demo-down"

// Hold runs this program again as the holder of a lab: a process of its own
// session that keeps every child of the run. It passes on what the holder
// prints and returns when the lab is up and checked, or with its failure.
func Hold(ctx context.Context, argv []string) error {
	out, in, err := os.Pipe()
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.Command("/proc/self/exe", argv[1:]...)
	cmd.Env = append(os.Environ(), HolderEnv+"=1")
	cmd.Stdout, cmd.Stderr = in, in
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	in.Close()
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(syscall.SIGTERM) })
	defer stop()
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadString('\n')
		fmt.Print(line)
		if strings.HasPrefix(line, keptMark) {
			return cmd.Process.Release()
		}
		if errors.Is(err, io.EOF) {
			return cmd.Wait()
		}
		if err != nil {
			return err
		}
	}
}
