package main

import (
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

// catting runs this machine's cat until the test ends.
func catting(t *testing.T) (io.Writer, io.Reader) {
	t.Helper()
	cmd := exec.Command("/bin/busybox", "cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(in.Close(), cmd.Wait()); err != nil {
			t.Error(err)
		}
	})
	return in, out
}

// yes runs a program that writes to /dev/null until the test ends.
func yes(t *testing.T, ended *int) *noise {
	t.Helper()
	cmd := exec.Command("/bin/busybox", "yes", noiseText)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return &noise{pid: cmd.Process.Pid, stop: func() error {
		*ended++
		err := cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
		return err
	}}
}

// TestEchoes measures with programs of this machine, and checks that each writer is ended.
func TestEchoes(t *testing.T) {
	t.Parallel()
	in, out := catting(t)
	var begun []string
	ended := 0
	f, err := echoes(t.Context(), in, out, func(kind string) (*noise, error) {
		if len(begun) > ended {
			t.Errorf("%s begins before the one before has ended", kind)
		}
		begun = append(begun, kind)
		return yes(t, &ended), nil
	})
	if err != nil || len(f) != 3 || f["echo"] <= 0 || f[besideLogged] <= 0 || f[besideNull] <= 0 {
		t.Errorf("%v, %v", f, err)
	}
	if want := strings.TrimSpace(strings.Repeat(besideLogged+" "+besideNull+" ", echoBlocks)); strings.Join(begun,
		" ") != want || ended != len(begun) {
		t.Errorf("%v begun, %d ended", begun, ended)
	}
}

// TestNoiseEnds ends the writer before its block ends. That must be an error, since the
// figures would be those without noise.
func TestNoiseEnds(t *testing.T) {
	t.Parallel()
	in, out := catting(t)
	ended := 0
	n := yes(t, &ended)
	if err := n.awaitWritten(t.Context(), 1); err != nil {
		t.Error(err)
	}
	if err := n.stop(); err != nil {
		t.Error(err)
	}
	n.stop = func() error { return nil }
	if _, err := block(t.Context(), in, out, besideLogged, func(string) (*noise, error) { return n, nil }); err == nil {
		t.Error("a block without its noise")
	}
}

func TestEchoOfAnother(t *testing.T) {
	t.Parallel()
	for _, back := range []string{strings.Replace(aLine, "line", "lime", 1), aLine[1:]} {
		if _, err := echo(io.Discard, strings.NewReader(back)); err == nil {
			t.Errorf("%q is taken for %q", back, aLine)
		}
	}
}
