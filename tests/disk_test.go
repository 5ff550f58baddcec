package tests

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// disk is a small file system of a test's own.
type disk struct {
	dir    string // where it is mounted
	filler string
}

// newDisk makes a file system of a kind and mounts it, until the test ends.
func newDisk(t *testing.T, kind string, megabytes int) *disk {
	t.Helper()
	base, err := os.MkdirTemp("/tmp", "eld")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(base); err != nil {
			t.Error(err)
		}
	})
	d := &disk{dir: filepath.Join(base, "mnt")}
	d.filler = filepath.Join(d.dir, "filler")
	if err := os.Mkdir(d.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	size := fmt.Sprintf("%dM", megabytes)
	if kind == "tmpfs" {
		command(t, "mount", "-t", "tmpfs", "-o", "size="+size, "tmpfs", d.dir)
	} else {
		image := filepath.Join(base, "image")
		command(t, "truncate", "-s", size, image)
		command(t, "mkfs."+kind, "-q", image)
		command(t, "mount", "-o", "loop", image, d.dir)
	}
	t.Cleanup(func() {
		unlooped(t, d.dir)
		unmount(t, d.dir)
	})
	return d
}

// unmount unmounts dir, of which this process has closed all files. A process that another
// test starts has copies of them from its fork to its exec: so long dir is busy.
func unmount(t *testing.T, dir string) {
	t.Helper()
	await(t, "nothing is open below "+dir, func() bool {
		err := unix.Unmount(dir, 0)
		if err != nil && !errors.Is(err, unix.EBUSY) {
			t.Fatalf("unmount %s: %v", dir, err)
		}
		return err == nil
	})
}

// unlooped waits until no loop device has a file below dir. The one of a file system
// that was unmounted stays as long as somebody looks at it: each mount looks at all.
func unlooped(t *testing.T, dir string) {
	t.Helper()
	await(t, "the loop devices have let go of "+dir, func() bool {
		backings, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
		if err != nil {
			t.Fatal(err)
		}
		return !slices.ContainsFunc(backings, func(path string) bool {
			file, err := os.ReadFile(path)
			return err == nil && strings.HasPrefix(string(file), dir+"/") // else it has gone meanwhile
		})
	})
}

// fill takes every block that is left.
func (d *disk) fill(t *testing.T) {
	t.Helper()
	f, err := os.OpenFile(d.filler, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; size /= 2 {
		for err = nil; err == nil; {
			_, err = f.Write(make([]byte, size))
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
	}
}

func (d *disk) free(t *testing.T) {
	t.Helper()
	if err := os.Remove(d.filler); err != nil {
		t.Fatal(err)
	}
}

// command runs a program that has to succeed, and returns what it printed.
func command(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}
