package keeper

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// self is the test binary, which is the keeper and runtimed too.
func self(t *testing.T) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return exe
}

// start calls Start with the test binary as the keeper, and kills that at the test's end if it still runs.
func start(t *testing.T, opts Options) (*Client, error) {
	t.Helper()
	opts.Binary, opts.Args = self(t), []string{"as-program"}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	c, err := Start(ctx, opts)
	if err == nil {
		t.Cleanup(func() {
			if err := c.Stop(context.Background(), StopOptions{Force: true}); err != nil && !errdefs.IsUnavailable(err) {
				t.Error(err)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
			awaitFree(t, opts.Dir)
		})
	}
	return c, err
}

// awaitFree waits until no keeper has the directory: its last step removes the pid file.
func awaitFree(t *testing.T, dir string) {
	t.Helper()
	eventually(t, "the keeper has ended", func() bool {
		_, err := os.Stat(filepath.Join(dir, "keeper.pid"))
		return os.IsNotExist(err)
	})
}

func TestStart(t *testing.T) {
	dir, logPath := filepath.Join(t.TempDir(), "keeper"), filepath.Join(t.TempDir(), "log")
	opts := Options{
		Dir: dir, Log: logPath, RuntimedLog: logPath,
		Runtimed: []string{"/bin/sh", "-c", "echo from runtimed; exec " + self(t) + " as-daemon " + dir},
	}
	first, err := start(t, opts)
	if err != nil {
		t.Fatal(err)
	}
	pid := first.Pid()
	if session, err := unix.Getsid(pid); err != nil || session != pid {
		t.Errorf("keeper %d is in session %d, %v", pid, session, err)
	}
	second, err := Start(t.Context(), opts)
	if err != nil || second.Pid() != pid {
		t.Fatalf("the second start is not the first keeper: %v", err)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	// Start has waited until runtimed serves.
	if r, err := first.Runtimed(t.Context()); err != nil || !r.Serving || r.Command[0] != "/bin/sh" || r.Last != nil {
		t.Errorf("runtimed after the start: %+v, %v", r, err)
	}
	if data, err := os.ReadFile(logPath); err != nil || !strings.Contains(string(data), "from runtimed") {
		t.Errorf("log %q, %v", data, err)
	}
	if err := unix.Kill(pid, unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-first.Done()
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
	_, err := start(t, Options{Dir: filepath.Join(file, "keeper")})
	if !errdefs.IsUnavailable(err) || !strings.Contains(err.Error(), "directory") {
		t.Errorf("start in an impossible directory: %v", err)
	}
	_, err = Start(t.Context(), Options{Binary: file, Dir: t.TempDir()})
	if !errdefs.IsUnavailable(err) {
		t.Errorf("start of what is no program: %v", err)
	}
}

// TestStartTellsOfRuntimed starts keepers with a runtimed that doesn't come up. The error has the reason, and nothing
// is left.
func TestStartTellsOfRuntimed(t *testing.T) {
	dir := t.TempDir()
	for name, test := range map[string]struct {
		command []string
		words   []string
	}{
		"missing":       {[]string{"/no/such/runtimed"}, []string{"/no/such/runtimed", "no such file"}},
		"no program":    {[]string{"/etc/passwd"}, []string{"permission denied"}},
		"refuses flags": {[]string{"/bin/sh", "-c", "echo bad flag >&2; exit 2"}, []string{"exit status 2", "bad flag"}},
		"ends":          {[]string{"/bin/sh", "-c", "echo no root; exit 1"}, []string{"exit status 1", "no root"}},
		"is killed":     {[]string{"/bin/sh", "-c", "kill -9 $$"}, []string{"signal killed"}},
	} {
		for _, log := range []string{"", filepath.Join(dir, "log")} {
			if log != "" {
				old := "earlier words\n"
				if err := os.WriteFile(log, []byte(old), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			began := time.Now()
			c, err := start(t, Options{Dir: filepath.Join(dir, "keeper"), Runtimed: test.command, RuntimedLog: log})
			if err == nil {
				t.Errorf("%s: the start succeeded", name)
				c.Close()
				continue
			}
			for _, word := range append(test.words, "runtimed does not come up") {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("%s: no %q in %v", name, word, err)
				}
			}
			if !errdefs.IsUnavailable(err) || strings.Contains(err.Error(), "earlier words") {
				t.Errorf("%s: %v", name, err)
			}
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("%s: told after %v", name, took)
			}
			awaitFree(t, filepath.Join(dir, "keeper"))
		}
	}
}

// TestStartSlow starts a runtimed that neither serves nor ends: Start doesn't wait for ever.
func TestStartSlow(t *testing.T) {
	c, err := start(t, Options{Dir: t.TempDir(), Runtimed: []string{"/bin/sleep", "1000"}})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := c.Runtimed(t.Context()); err != nil || r.Pid == 0 || r.Serving || r.Failing {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestStartRepairs starts on a keeper that runs already, without a runtimed or with one that fails, as a kill of Start
// leaves it. The keeper gets the runtimed of the new start.
func TestStartRepairs(t *testing.T) {
	for name, command := range map[string][]string{"none": nil, "failing": {"/bin/sh", "-c", "exit 2"}} {
		dir := t.TempDir()
		k := startKeeper(t, dir, command...)
		_, err := Start(t.Context(), Options{Dir: dir, Runtimed: []string{"/bin/sh", "-c", "echo worse; exit 7"}})
		if !errdefs.IsUnavailable(err) || !strings.Contains(err.Error(), "worse") {
			t.Errorf("%s: a start with another that fails: %v", name, err)
		}
		c, err := Start(t.Context(), Options{Dir: dir, Runtimed: []string{self(t), "as-daemon", dir}})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		r, err := c.Runtimed(t.Context())
		if err != nil || !r.Serving || c.Pid() != k.cmd.Process.Pid {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestParse(t *testing.T) {
	for _, args := range [][]string{{}, {"--dir"}, {"--frobnicate"}, {"--", "--dir", "x"}} {
		if _, err := parse(args, io.Discard); err == nil {
			t.Errorf("%v was accepted", args)
		}
	}
	p, err := parse([]string{"--dir", "d", "--", "/bin/runtimed", "--flag"}, io.Discard)
	if err != nil || p.Dir != "d" || strings.Join(p.Runtimed, " ") != "/bin/runtimed --flag" {
		t.Errorf("%+v, %v", p, err)
	}
	if err := detach([]string{"not our last words"}, true); err == nil {
		t.Error("detached with words that are not the command line's")
	}
}
