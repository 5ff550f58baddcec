package keeper

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// The test binary is also every process that the tests need: its first argument then names the role.
var roles = map[string]func(args []string) error{
	"as-keeper":   keeperRole,
	"as-runtimed": runtimedRole,
	"as-crowd":    crowdRole,
	"as-engine":   engineRole,
	"as-writer":   writerRole,
	"as-program":  func(args []string) error { os.Exit(Main(args)); return nil },
	"as-daemon":   daemonRole,
}

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		if role, ok := roles[os.Args[1]]; ok {
			if err := role(os.Args[2:]); err != nil {
				fmt.Fprintf(os.Stderr, "%s: %v\n", os.Args[1], err)
				os.Exit(1)
			}
			os.Exit(0)
		}
	}
	goleak.VerifyTestMain(m)
}

// keeperRole is a keeper: DIR, then runtimed's command line.
func keeperRole(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer stop()
	cfg := Config{Dir: args[0], Runtimed: args[1:], Log: log.New(os.Stderr, "keeper: ", 0)}
	return Run(ctx, cfg, func() { fmt.Println("ready") })
}

// spawned is one process that the runtimed role has started and orphaned.
type spawned struct {
	Pid   int
	Start uint64
}

// runtimedRole stands for runtimed: DIR. It starts what it is told over DIR/spawn.sock, and ends with the keeper.
func runtimedRole(args []string) error {
	client, err := Dial(context.Background(), filepath.Join(args[0], SocketName))
	if err != nil {
		return err
	}
	path := filepath.Join(args[0], "spawn.sock")
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	go func() { <-client.Done(); os.Exit(0) }()
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		if err := spawnOne(conn); err != nil {
			return err
		}
	}
}

// spawnOne starts the crowd role with the arguments it is sent: its children are orphans when it has ended.
func spawnOne(conn net.Conn) error {
	defer conn.Close()
	var args []string
	if err := json.NewDecoder(conn).Decode(&args); err != nil {
		return err
	}
	if len(args) == 0 {
		return json.NewEncoder(conn).Encode([]spawned{{Pid: os.Getpid()}})
	}
	out, err := exec.Command("/proc/self/exe", append([]string{"as-crowd"}, args...)...).Output()
	if err != nil {
		return err
	}
	_, err = conn.Write(out)
	return err
}

// crowdRole starts children and leaves: N GATE SCRIPT. Child i runs the shell script with $1 = i and the FIFO at
// GATE as stdin.
func crowdRole(args []string) error {
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	barrier, err := unix.Open(args[1], unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	null, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	all := make([]spawned, n)
	for i := range all {
		argv := []string{"sh", "-c", args[2], "sh", strconv.Itoa(i)}
		files := []uintptr{uintptr(barrier), uintptr(null), uintptr(null)}
		pid, err := syscall.ForkExec("/bin/sh", argv, &syscall.ProcAttr{Files: files})
		if err != nil {
			return err
		}
		start, err := StartTime(pid) // at least a zombie: nobody else waits for it
		if err != nil {
			return err
		}
		all[i] = spawned{pid, start}
	}
	return json.NewEncoder(os.Stdout).Encode(all)
}

// engineRole takes a stream, moves some of it, returns it, and so on until it is killed: SOCKET KEY.
func engineRole(args []string) error {
	ctx := context.Background()
	client, err := Dial(ctx, args[0])
	if err != nil {
		return err
	}
	for {
		stream, raw, err := client.Take(ctx, args[1], Stdout)
		if err != nil {
			return err
		}
		in, out := int(stream.Fd()), int(raw.Fd())
		if err := unix.SetNonblock(in, true); err != nil { // undoes what Fd did
			return err
		}
		fmt.Println("took")
		for range rand.IntN(200) {
			var stat unix.Stat_t
			if err := unix.Fstat(out, &stat); err != nil {
				return err
			}
			poll := []unix.PollFd{{Fd: int32(in), Events: unix.POLLIN}}
			if _, err := unix.Poll(poll, 1); err != nil && !errors.Is(err, unix.EINTR) {
				return err
			}
			_, err := unix.Splice(in, nil, out, &stat.Size, 1+rand.IntN(10000), unix.SPLICE_F_NONBLOCK)
			if err != nil && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
				return err
			}
		}
		stream.Close()
		raw.Close()
		if err := client.Return(ctx, args[1], Stdout); err != nil {
			return err
		}
	}
}

// writerRole writes numbered lines: FIFO LINES. It pauses now and then, so that there is a stream and not one gulp.
func writerRole(args []string) error {
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	file, err := os.OpenFile(args[0], os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(file, 4096)
	for i := range n {
		_, _ = fmt.Fprintf(w, "%d\n", i) // its Flush tells
		if i%2000 == 0 {
			time.Sleep(time.Millisecond)
		}
	}
	return errors.Join(w.Flush(), file.Close())
}

// running is a keeper that a test has started.
type running struct {
	dir string
	cmd *exec.Cmd
}

// startKeeper starts a keeper on dir and waits until it answers. The test's end ends it with SIGTERM, unless the
// test has.
func startKeeper(t *testing.T, dir string, runtimed ...string) *running {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", append([]string{"as-keeper", dir}, runtimed...)...)
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0 halt_on_error=1")
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	k := &running{dir: dir, cmd: cmd}
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			k.end(t)
		}
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("keeper said %q: %v", line, err)
	}
	return k
}

// startWithRuntimed starts a keeper whose runtimed is the runtimed role, and waits for that too.
func startWithRuntimed(t *testing.T, dir string) *running {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	k := startKeeper(t, dir, exe, "as-runtimed", dir)
	k.runtimedPid(t)
	return k
}

// end ends the keeper in peace; it must have no complaint (a data race is one).
func (k *running) end(t *testing.T) {
	t.Helper()
	if err := k.cmd.Process.Signal(unix.SIGTERM); err != nil {
		t.Error(err)
	}
	if err := k.cmd.Wait(); err != nil {
		t.Errorf("keeper ended with %v", err)
	}
}

// kill ends the keeper with SIGKILL.
func (k *running) kill(t *testing.T) {
	t.Helper()
	if err := k.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	k.cmd.Wait() // says only that it was killed
}

func (k *running) socket() string { return filepath.Join(k.dir, SocketName) }

// dial connects to the keeper until the test's end.
func (k *running) dial(t *testing.T) *Client {
	t.Helper()
	c, err := Dial(t.Context(), k.socket())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// spawn makes runtimed start n orphans.
func (k *running) spawn(t *testing.T, n int, barrier, script string) []spawned {
	t.Helper()
	all, err := k.ask([]string{strconv.Itoa(n), barrier, script})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// runtimedPid waits for runtimed and returns its pid.
func (k *running) runtimedPid(t *testing.T) (pid int) {
	t.Helper()
	eventually(t, "runtimed answers", func() bool {
		all, err := k.ask([]string{})
		if err != nil {
			return false
		}
		pid = all[0].Pid
		return true
	})
	return pid
}

func (k *running) ask(args []string) ([]spawned, error) {
	conn, err := net.Dial("unix", filepath.Join(k.dir, "spawn.sock"))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := json.NewEncoder(conn).Encode(args); err != nil {
		return nil, err
	}
	var all []spawned
	err = json.NewDecoder(conn).Decode(&all)
	return all, err
}

// fds counts the keeper's open descriptors.
func (k *running) fds(t *testing.T) int { return countFDs(t, k.cmd.Process.Pid) }

func countFDs(t *testing.T, pid int) int {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// makeBarrier makes a FIFO that a crowd waits at; closing the returned file opens the barrier.
func makeBarrier(t *testing.T) (string, *os.File) {
	t.Helper()
	return makeFIFO(t, "barrier")
}

// makeFIFO makes a FIFO and opens it as an engine does.
func makeFIFO(t *testing.T, name string) (string, *os.File) {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := file.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
			t.Error(err)
		}
	})
	return path, file
}

// makeRaw makes a raw file.
func makeRaw(t *testing.T) *os.File {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "raw"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return file
}

func writeString(t *testing.T, w io.Writer, text string) {
	t.Helper()
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
}

// procFile returns a file of /proc/PID, empty if the process is gone.
func procFile(pid int, name string) []byte {
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), name))
	if err != nil {
		return nil
	}
	return data
}
