package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/keeper"
)

// With this in its environment the test binary is the keeper.
const asKeeper = "KEEPER_TEST_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asKeeper) != "" {
		main()
		return
	}
	goleak.VerifyTestMain(m)
}

func start(t *testing.T, opts keeper.Options) (*keeper.Client, error) {
	t.Helper()
	t.Setenv(asKeeper, "1")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	opts.Binary = exe
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	return keeper.Start(ctx, opts)
}

func TestStart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keeper")
	logPath := filepath.Join(t.TempDir(), "log")
	opts := keeper.Options{
		Dir: dir, Log: logPath, RuntimedLog: logPath,
		Runtimed: []string{"/bin/sh", "-c", "echo from runtimed; exec sleep 1000"},
	}
	first, err := start(t, opts)
	if err != nil {
		t.Fatal(err)
	}
	pid := first.Pid()
	if session, err := unix.Getsid(pid); err != nil || session != pid {
		t.Errorf("keeper %d is in session %d, %v", pid, session, err)
	}
	second, err := start(t, opts)
	if err != nil || second.Pid() != pid {
		t.Fatalf("the second start is not the first keeper: %v", err)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	for text := ""; !strings.Contains(text, "from runtimed"); time.Sleep(time.Millisecond) {
		data, err := os.ReadFile(logPath)
		if err != nil {
			t.Fatal(err)
		}
		text = string(data)
	}
	if err := unix.Kill(pid, unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-first.Done()
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	// Not our child: nobody here has to reap it.
	if _, err := unix.Wait4(pid, nil, unix.WNOHANG, nil); err != unix.ECHILD {
		t.Errorf("the keeper is our child: %v", err)
	}
}

func TestStartFails(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := start(t, keeper.Options{Dir: filepath.Join(file, "keeper")})
	if !errdefs.IsUnavailable(err) || !strings.Contains(err.Error(), "directory") {
		t.Errorf("start in an impossible directory: %v", err)
	}
	_, err = keeper.Start(t.Context(), keeper.Options{Binary: file, Dir: t.TempDir()})
	if !errdefs.IsUnavailable(err) {
		t.Errorf("start of what is no program: %v", err)
	}
}

func TestParse(t *testing.T) {
	for _, args := range [][]string{{}, {"--dir"}, {"--frobnicate"}, {"--", "--dir", "x"}} {
		if _, err := parse(args, io.Discard); err == nil {
			t.Errorf("%v was accepted", args)
		}
	}
	opts, err := parse([]string{"--dir", "d", "--", "/bin/runtimed", "--flag"}, io.Discard)
	if err != nil || opts.Dir != "d" || strings.Join(opts.Runtimed, " ") != "/bin/runtimed --flag" {
		t.Errorf("%+v, %v", opts, err)
	}
}
