package tests

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/engine-lite/engine-lite/keeper"
	"github.com/engine-lite/engine-lite/remote"
)

// privateRuntimed is a keeper with a runtimed, in a directory of their own.
type privateRuntimed struct {
	dir, address string
	argv         []string
	keeper       *exec.Cmd
	words        *bytes.Buffer // the keeper's
}

// buildRuntimed builds keeper and runtimed, with the race detector if the test has it, and
// returns their directory.
func buildRuntimed(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	args := append([]string{"build", "-o", dir}, raceFlag(t)...)
	const commands = "github.com/engine-lite/engine-lite/cmd/"
	out, err := exec.CommandContext(t.Context(), "go",
		append(args, commands+"keeper", commands+"runtimed")...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return dir
}

// raceFlag is the flag for go build if the test has the race detector.
func raceFlag(t *testing.T) []string {
	t.Helper()
	info, ok := debug.ReadBuildInfo()
	if !ok {
		t.Fatal("the test has no build information")
	}
	for _, s := range info.Settings {
		if s.Key == "-race" && s.Value == "true" {
			return []string{"-race"}
		}
	}
	return nil
}

// startRuntimed starts a keeper, which starts a runtimed. Both end with the test. wrap is
// a command that runs the keeper.
func startRuntimed(t *testing.T, programs, ociRuntime string, wrap ...string) *privateRuntimed {
	t.Helper()
	dir, err := os.MkdirTemp("", "runtimed-") // short: a socket's path may have 108 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeTree(t, dir) })
	r := &privateRuntimed{dir: dir, address: filepath.Join(dir, "r.sock"), words: &bytes.Buffer{}}
	r.argv = append(wrap, filepath.Join(programs, "keeper"), "--dir", filepath.Dir(r.keeperSocket()), "--runtimed-log",
		r.logFile(), "--",
		filepath.Join(programs, "runtimed"), "--root", r.root(), "--address", r.address,
		"--keeper", r.keeperSocket(), "--runtime", ociRuntime, "--log-level", "debug")
	r.startKeeper(t)
	t.Cleanup(func() { r.stop(t) })
	return r
}

func (r *privateRuntimed) root() string    { return filepath.Join(r.dir, "root") }
func (r *privateRuntimed) logFile() string { return filepath.Join(r.dir, "log") }
func (r *privateRuntimed) keeperSocket() string {
	return filepath.Join(r.dir, "keeper", keeper.SocketName)
}

func (r *privateRuntimed) log(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(r.logFile())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	return string(text)
}

func (r *privateRuntimed) startKeeper(t *testing.T) {
	t.Helper()
	r.keeper = exec.Command(r.argv[0], r.argv[1:]...)
	r.keeper.Stdout, r.keeper.Stderr = r.words, r.words
	if err := r.keeper.Start(); err != nil {
		t.Fatal(err)
	}
	// No signal may come before the process has become the keeper and handles it.
	await(t, "the keeper answers", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
		defer cancel()
		c, err := keeper.Dial(ctx, r.keeperSocket())
		return err == nil && c.Close() == nil
	})
}

// stop stops both and looks for leftovers: processes, mounts, state of the OCI runtime. It
// also looks for complaints in the log.
func (r *privateRuntimed) stop(t *testing.T) {
	// the keeper may have a mount namespace of its own
	mounts, err := os.ReadFile("/proc/" + strconv.Itoa(r.keeper.Process.Pid) + "/mountinfo")
	if err != nil || strings.Contains(string(mounts), " "+r.dir+"/") {
		t.Errorf("mounts below %s: %v\n%s", r.dir, err, mounts)
	}
	if err := r.keeper.Process.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if err := r.keeper.Wait(); err != nil {
		t.Errorf("keeper: %v\n%s", err, r.words)
	}
	if left := processesOf(r.dir); len(left) > 0 {
		t.Errorf("processes are left: %v", left)
	}
	if left := ociState(t, filepath.Join(r.root(), ".oci")); len(left) > 0 {
		t.Errorf("the OCI runtime has containers left: %v", left)
	}
	log := r.log(t)
	for _, complaint := range []string{"level=error", "DATA RACE", "panic:"} {
		if strings.Contains(log, complaint) {
			t.Errorf("%q in runtimed's log", complaint)
		}
	}
	if t.Failed() {
		t.Logf("keeper:\n%s\nruntimed's log:\n%s", r.words, log)
	}
}

// ociState lists the files below the OCI runtime's state directory. Each container has a
// directory in it.
func ociState(t *testing.T, dir string) []string {
	var files []string
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			files = append(files, path)
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	return files
}

// processesOf lists the processes whose command line names a directory.
func processesOf(dir string) []string {
	var found []string
	paths, _ := filepath.Glob("/proc/[0-9]*/cmdline") // the pattern is valid
	for _, path := range paths {
		if line, err := os.ReadFile(path); err == nil && strings.Contains(string(line), dir) {
			found = append(found, strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return found
}

// dial connects to runtimed, in a namespace.
func (r *privateRuntimed) dial(t *testing.T, namespace string) *remote.Daemon {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	d, err := remote.New(ctx, remote.Options{Address: r.address, Namespace: namespace})
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, r.words, r.log(t))
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// runtimedPid is the pid of the keeper's child; 0 while there is none.
func (r *privateRuntimed) runtimedPid(t *testing.T) int {
	t.Helper()
	// each thread has its own
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", r.keeper.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range lists {
		children, _ := os.ReadFile(list) // a thread may have ended
		for _, child := range strings.Fields(string(children)) {
			if exe, _ := os.Readlink("/proc/" + child + "/exe"); filepath.Base(exe) == "runtimed" {
				pid, err := strconv.Atoi(child)
				if err != nil {
					t.Fatal(err)
				}
				return pid
			}
		}
	}
	return 0
}
