package tests

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"

	"go.uber.org/goleak"
)

// TestMain ends the daemon that tests share, once the last of them has run, and
// looks for what it and they left on the machine.
func TestMain(m *testing.M) {
	if insideMachine() {
		runGuest()
	}
	if how := os.Getenv(journalWriter); how != "" {
		if err := writeJournal(how); err != nil {
			fmt.Fprintln(os.Stderr, "journal writer:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	shims := absent("/run/containerd/s", "/run/containerd/runc", "/run/containerd")
	code := m.Run()
	if err := shared.close(); err != nil {
		fmt.Fprintln(os.Stderr, "after the tests:", err)
		code = max(code, 1)
	}
	if err := os.RemoveAll(built); err != nil {
		fmt.Fprintln(os.Stderr, "after the tests:", err)
		code = max(code, 1)
	}
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, "after the tests:", err)
		code = max(code, 1)
	}
	for _, dir := range shims {
		if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
			fmt.Fprintln(os.Stderr, "after the tests:", err)
			code = max(code, 1)
		}
	}
	os.Exit(code)
}

// absent returns the directories that aren't there. containerd's shims make theirs
// outside of the private directory that the daemon was given.
func absent(dirs ...string) []string {
	return slices.DeleteFunc(dirs, func(dir string) bool {
		_, err := os.Lstat(dir)
		return err == nil
	})
}
