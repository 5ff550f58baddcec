package tests

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/engine-lite/engine-lite/internal/apart"
)

// TestMain runs the tests in namespaces of their own (package apart), since podman and
// containerd leave files where they first run. At the end it stops the shared engine and
// looks for leftovers.
func TestMain(m *testing.M) {
	if insideMachine() {
		runInMachine()
	}
	if how := os.Getenv(journalWriter); how != "" {
		if err := writeJournal(how); err != nil {
			fmt.Fprintln(os.Stderr, "journal writer:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if code, done := apart.Enter(); done {
		os.Exit(code)
	}
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
	for _, left := range apart.Left() {
		fmt.Fprintln(os.Stderr, "left behind:", left)
		code = max(code, 1)
	}
	os.Exit(code)
}
