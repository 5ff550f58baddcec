package runtimed_test

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types/task"
	"golang.org/x/sys/unix"
)

// An exit is on disk before it is announced. In this test, the record is a full FIFO:
// while it can't be written, the task has not ended.
func TestExitIsWrittenFirst(t *testing.T) {
	d := startDaemon(t, "runc")
	s := d.open("c", true)
	in, err := s.set.OpenStdin(t.Context())
	check(t, err)
	defer in.Abort()
	d.run("c", "read x; exit 7", s)
	path := filepath.Join(d.dir, "root", testNamespace, "c", "init", "exit.new")
	check(t, unix.Mkfifo(path, 0o600))
	blocked, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0)
	check(t, err)
	defer blocked.Close()
	page := make([]byte, 4096)
	for err == nil {
		_, err = unix.Write(int(blocked.Fd()), page)
		err = errors.Join(err, unix.SetNonblock(int(blocked.Fd()), true)) // Fd has reset it
	}
	if !errors.Is(err, unix.EAGAIN) {
		t.Fatal(err)
	}
	_, err = in.Write([]byte("\n"))
	check(t, err)
	runtimed := d.runtimedPid()
	d.await("runtimed writes the record", func() bool { return hasOpen(t, runtimed, path) })
	ctx, cancel := d.within()
	defer cancel()
	r, err := d.tasks.Get(ctx, &tasks.GetRequest{ContainerID: "c"})
	check(t, err)
	equal(t, "status while the record isn't written", r.Process.Status, task.Status_RUNNING)
	for read := 0; read < 1; { // makes room
		n, err := unix.Read(int(blocked.Fd()), page)
		check(t, err)
		read += n
	}
	equal(t, "exit status", d.wait("c", ""), 7)
}

// hasOpen is true if a process has a file open.
func hasOpen(t *testing.T, pid int, path string) bool {
	for _, target := range openFiles(t, pid) {
		if target == path {
			return true
		}
	}
	return false
}

// quickDeath is an OCI runtime that kills the new process, and waits until the keeper has
// reaped it, before it returns from create or exec.
const killedAtOnce = `#!/bin/sh
runc "$@" || exit
while [ $# -gt 0 ]; do
	[ "$1" = --pid-file ] && pid=$(cat "$2")
	shift
done
[ -z "$pid" ] && exit
kill -9 "$pid"
while [ -e "/proc/$pid" ]; do sleep 0.01; done
`

// A process may be gone before the OCI runtime returns, so that its start time is unknown.
// Its exit is in the keeper's ledger.
func TestExitBeforeCreateReturns(t *testing.T) {
	path := filepath.Join(t.TempDir(), "runc")
	check(t, os.WriteFile(path, []byte(killedAtOnce), 0o700))
	d := startDaemon(t, path)
	d.record("c", d.spec("c", "exit 0"))
	check(t, d.create("c", nil, false))
	equal(t, "exit status", d.wait("c", ""), 137)
	d.killRuntimed()
	equal(t, "exit status after a restart", d.wait("c", ""), 137)
}

// Idle terminals share one epoll instance: they need descriptors, and no threads. The
// console sockets are gone.
func TestTerminalsShareOneLoop(t *testing.T) {
	d := startDaemon(t, "runc")
	pid := d.runtimedPid()
	before := threads(t, pid)
	const many = 20
	for i := range many {
		id := "c" + strconv.Itoa(i)
		s := d.open(id, true)
		spec := d.spec(id, "echo ready; exec cat")
		spec.Process.Terminal = true
		d.record(id, spec)
		check(t, d.create(id, s, true))
		d.start(id, "")
		d.await("the terminal works", func() bool { return strings.Contains(s.sofar(), "ready") })
	}
	loops, masters := 0, 0
	for _, target := range openFiles(t, pid) {
		switch {
		case strings.Contains(target, "eventpoll"):
			loops++
		case strings.HasSuffix(target, "/ptmx"):
			masters++
		}
	}
	equal(t, "epoll instances", loops, 1)
	equal(t, "masters", masters, many)
	if now := threads(t, pid); now >= before+many {
		t.Errorf("%d threads, %d before", now, before)
	}
	sockets, err := filepath.Glob(filepath.Join(d.dir, "root", ".tmp", "*.sock"))
	check(t, err)
	equal(t, "console sockets", len(sockets), 0)
}

// threads counts a process's threads.
func threads(t *testing.T, pid int) int {
	t.Helper()
	all, err := os.ReadDir(filepath.Join("/proc", strconv.Itoa(pid), "task"))
	check(t, err)
	return len(all)
}
