package fifo

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

const (
	busybox   = "/bin/busybox"
	helperEnv = "FIFO_TEST_HELPER"
)

func TestMain(m *testing.M) {
	if os.Getenv(helperEnv) == "keep" {
		keepDescriptor()
		return
	}
	// The runtime opens its poller's descriptors with the first pipe.
	r, w, err := os.Pipe()
	if err != nil {
		panic(err)
	}
	r.Close()
	w.Close()
	goleak.VerifyTestMain(m)
}

// checkLeaks fails the test if a goroutine or descriptor is left at its end.
func checkLeaks(t *testing.T) {
	t.Helper()
	before := descriptors(t)
	t.Cleanup(func() {
		goleak.VerifyNone(t)
		if after := descriptors(t); len(after) != len(before) {
			t.Errorf("descriptors before: %v, after: %v", before, after)
		}
	})
}

func descriptors(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	var open []string
	for _, entry := range entries {
		if target, err := os.Readlink("/proc/self/fd/" + entry.Name()); err == nil {
			open = append(open, entry.Name()+"="+target)
		}
	}
	return open
}

// waitFor waits until holds returns true.
func waitFor(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// waitParked waits until a goroutine waits in the poller (state "IO wait") or on
// a channel (state "select") below the function.
func waitParked(t *testing.T, state, function string) {
	t.Helper()
	waitFor(t, function+" in "+state, func() bool {
		buf := make([]byte, 1<<20)
		for stack := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			head, body, _ := strings.Cut(stack, "\n")
			if strings.Contains(head, "["+state) && strings.Contains(body, function) {
				return true
			}
		}
		return false
	})
}

// newSet creates a set with all three FIFOs.
func newSet(t testing.TB) *Set {
	t.Helper()
	set, err := Create(filepath.Join(t.TempDir(), "io"), Config{
		UID: os.Geteuid(), GID: os.Getegid(), Stdin: true, Stdout: true, Stderr: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func openStdout(t testing.TB, set *Set) *Reader {
	t.Helper()
	reader, err := set.OpenStdout(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { reader.Close() })
	return reader
}

func openContainer(t testing.TB, paths Paths) ContainerFiles {
	t.Helper()
	files, err := OpenContainer(context.Background(), paths)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { files.Close() })
	return files
}

// start runs busybox with the files as its standard streams, and then closes the files,
// as a runtime daemon does.
func start(t testing.TB, files ContainerFiles, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(busybox, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = files.Stdin, files.Stdout, files.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Process.Wait()
	})
	if err := files.Close(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

// keepDescriptor is the process that holds a descriptor for another one: it takes the
// descriptor from the socket at descriptor 3, and returns it when asked.
func keepDescriptor() {
	conn, err := net.FileConn(os.NewFile(3, "socket"))
	if err != nil {
		panic(err)
	}
	fd := receiveDescriptor(conn.(*net.UnixConn))
	if _, err := conn.Write([]byte("have it")); err != nil {
		panic(err)
	}
	if _, err := conn.Read(make([]byte, 16)); err != nil {
		panic(err)
	}
	sendDescriptor(conn.(*net.UnixConn), fd)
}

func sendDescriptor(conn *net.UnixConn, fd int) {
	if _, _, err := conn.WriteMsgUnix([]byte{1}, unix.UnixRights(fd), nil); err != nil {
		panic(err)
	}
}

func receiveDescriptor(conn *net.UnixConn) int {
	oob := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := conn.ReadMsgUnix(make([]byte, 1), oob)
	if err != nil {
		panic(err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil {
		panic(err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		panic(err)
	}
	return fds[0]
}
