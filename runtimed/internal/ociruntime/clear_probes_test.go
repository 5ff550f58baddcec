package ociruntime

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestClearProbes ends the processes that have the directory of a probe in their command line,
// and no others.
func TestClearProbes(t *testing.T) {
	tmp := t.TempDir()
	start := func(dir string) (*exec.Cmd, chan struct{}) {
		t.Helper()
		cmd := exec.Command("/bin/sh", "-c", "read line", "--root", filepath.Join(dir, "root"))
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { stdin.Close() })
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() { // ends with the process
			_ = cmd.Wait() // it is killed
			close(ended)
		}()
		return cmd, ended
	}
	probe, other := filepath.Join(tmp, "probe123"), filepath.Join(tmp, "probe1234")
	for _, dir := range []string{probe, filepath.Join(tmp, "else")} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	_, ended := start(probe)
	running, late := start(other)
	if err := ClearProbes(t.Context(), tmp); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Fatal("a process of a probe is left")
	}
	select {
	case <-late:
		t.Error("a process with another directory has ended")
	default:
	}
	if err := running.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-late
	if err := ClearProbes(t.Context(), filepath.Join(tmp, "nothing")); err != nil {
		t.Error(err)
	}
}
