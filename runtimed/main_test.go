package runtimed_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/sirupsen/logrus"
	"go.uber.org/goleak"

	"github.com/engine-lite/engine-lite/internal/apart"
)

// What all tests share, made by prepared: the programs, and a root filesystem with only
// busybox.
var (
	shared   string
	binaries string
	rootfs   string
)

// groupsName is the parent of the containers' control groups. Each run of the tests has
// another one.
var groupsName = fmt.Sprintf("engine-lite-runtimed-test-%d", os.Getpid())

// TestMain runs the tests in namespaces of their own (package apart), since crun and CRIU
// leave files where they first run.
func TestMain(m *testing.M) {
	if code, done := apart.Enter(); done {
		os.Exit(code)
	}
	logrus.SetLevel(logrus.ErrorLevel)
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if shared != "" {
			if err := errors.Join(removeGroups(), os.RemoveAll(shared)); err != nil {
				fmt.Fprintln(os.Stderr, err)
				code = 1
			}
		}
		for _, left := range apart.Left() {
			fmt.Fprintln(os.Stderr, "left behind:", left)
			code = max(code, 1)
		}
		os.Exit(code)
	}))
}

// prepared makes what the tests share when the first test needs it.
var prepared = sync.OnceValue(func() (err error) {
	if shared, err = os.MkdirTemp("", "runtimed"); err != nil {
		return err
	}
	return prepare(shared)
})

// removeGroups removes the parents of the containers' control groups. It returns an error
// if one is not empty.
func removeGroups() error {
	groups, err := filepath.Glob("/sys/fs/cgroup/*/" + groupsName)
	for _, group := range groups {
		err = errors.Join(err, os.Remove(group))
	}
	return err
}

func prepare(dir string) error {
	binaries, rootfs = filepath.Join(dir, "bin"), filepath.Join(dir, "rootfs")
	for _, sub := range []string{"bin", "proc", "dev", "tmp"} {
		if err := os.MkdirAll(filepath.Join(rootfs, sub), 0o755); err != nil {
			return err
		}
	}
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(rootfs, "bin", "busybox"), busybox, 0o755); err != nil {
		return err
	}
	for _, applet := range []string{"sh", "cat", "sleep", "echo", "stty", "true", "head", "wc", "id", "dd", "tail",
		"touch", "nc"} {
		if err := os.Symlink("busybox", filepath.Join(rootfs, "bin", applet)); err != nil {
			return err
		}
	}
	if err := os.Mkdir(binaries, 0o755); err != nil {
		return err
	}
	args := append([]string{"build", "-o", binaries}, raceFlags...)
	build := exec.CommandContext(context.Background(), "go", append(args,
		"github.com/engine-lite/engine-lite/cmd/keeper", "github.com/engine-lite/engine-lite/cmd/runtimed")...)
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}
