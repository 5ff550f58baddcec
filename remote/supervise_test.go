package remote

import (
	"bytes"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

func TestSuperviseRefuses(t *testing.T) {
	dir := t.TempDir()
	long := "/" + strings.Repeat("x", longestSocket-len("/containerd.sock.ttrpc"))
	for name, o := range map[string]SupervisorOptions{
		"nothing": {}, "relative binary": {Binary: "containerd", Root: dir, Dir: dir}, "relative root": {Binary: "/x",
			Root: "r", Dir: dir},
		"relative directory": {Binary: "/x", Root: dir, Dir: "d"},
		"long directory":     {Binary: "/x", Root: dir, Dir: long},
	} {
		if _, err := Supervise(t.Context(), o); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	o := SupervisorOptions{Binary: "/x", Root: dir, Dir: long[:len(long)-1]}
	if err := o.check(); err != nil {
		t.Errorf("the longest directory: %v", err)
	}
}

// script makes a program from a shell script, to stand in for containerd.
func script(t *testing.T, text string) SupervisorOptions {
	t.Helper()
	dir, err := os.MkdirTemp("", "sup") // short: a socket's path may have 108 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	o := SupervisorOptions{Binary: filepath.Join(dir, "containerd"), Root: filepath.Join(dir, "root"),
		Dir: filepath.Join(dir, "run")}
	if err := os.WriteFile(o.Binary, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	o.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	return o
}

// TestSuperviseFails starts a program that ends before it serves.
func TestSuperviseFails(t *testing.T) {
	// Go opens descriptors of its own with the first call.
	if p, err := adoptDaemon([]string{"none"}); p != nil || err != nil {
		t.Fatal(p, err)
	}
	if err := exec.Command("/bin/true").Run(); err != nil {
		t.Fatal(err)
	}
	before := descriptors(t)
	for name, c := range map[string]struct{ text, words string }{
		"raw":     {`echo "there is no bread" >&2; exit 3`, "there is no bread"},
		"message": {`echo 'time="now" level=fatal msg="there is \"no\" wine"'; exit 1`, `there is "no" wine`},
		"killed":  {`kill -9 $$`, "signal: killed"},
	} {
		t.Run(name, func(t *testing.T) {
			o := script(t, c.text)
			_, err := Supervise(t.Context(), o)
			if !errdefs.IsUnavailable(err) || !strings.Contains(err.Error(), c.words) {
				t.Fatal(err)
			}
			// The directory can be used again.
			if _, err := Supervise(t.Context(), o); !errdefs.IsUnavailable(err) {
				t.Fatal(err)
			}
		})
	}
	o := script(t, "")
	if err := os.Remove(o.Binary); err != nil {
		t.Fatal(err)
	}
	if _, err := Supervise(t.Context(), o); !errdefs.IsUnavailable(err) {
		t.Fatal(err)
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors, %d before", after, before)
	}
}

// descriptors returns the number of descriptors of this process.
func descriptors(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// TestSuperviseKills ends a program that ignores SIGTERM.
func TestSuperviseKills(t *testing.T) {
	o := script(t, `trap '' TERM; echo $$ >"$(dirname "$2")/pid"; while :; do sleep 60 & wait $!; done`)
	o.Grace = 10 * time.Millisecond
	log, err := openLog(filepath.Join(t.TempDir(), "log"), o.Log)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s := &Supervisor{options: o, log: log}
	p, err := s.start()
	if err != nil {
		t.Fatal(err)
	}
	// The program makes the file after it has set its trap.
	for deadline := time.Now().Add(time.Minute); ; {
		if data, err := os.ReadFile(filepath.Join(o.Dir, "pid")); err == nil && len(data) > 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the script does not begin")
		}
		<-time.After(5 * time.Millisecond)
	}
	p.end(o.Grace)
	if p.how != "signal: killed" {
		t.Errorf("it ended with %s", p.how)
	}
	// The sleep was in the session of the program.
	if err := unix.Kill(-p.pid, unix.SIGKILL); err != nil {
		t.Error(err)
	}
	if err := log.close(); err != nil {
		t.Error(err)
	}
}

// TestAdoptDaemon finds a process by its arguments, if the process leads a session.
func TestAdoptDaemon(t *testing.T) {
	args := []string{"-c", "read x # " + t.TempDir()}
	if p, err := adoptDaemon(args); p != nil || err != nil {
		t.Fatalf("%v, %v", p, err)
	}
	for _, leader := range []bool{false, true} {
		cmd := exec.Command("/bin/sh", args...)
		cmd.SysProcAttr = &unix.SysProcAttr{Setsid: leader, Pdeathsig: unix.SIGKILL}
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		p, err := adoptDaemon(args)
		if err != nil || (p != nil) != leader || leader && p.pid != cmd.Process.Pid {
			t.Errorf("leader %v: %+v, %v", leader, p, err)
		}
		if p != nil {
			select {
			case <-p.ended:
				t.Error("the process has ended")
			default:
			}
			defer p.leave()
		}
		stdin.Close()
		cmd.Wait()
		if p != nil {
			<-p.ended
		}
	}
}

func TestParseMessage(t *testing.T) {
	for line, want := range map[string]message{
		`time="2026-01-02T03:04:05Z" level=info msg="starting" version=2.4.2`: {slog.LevelInfo, "starting",
			map[string]string{"version": "2.4.2"}},
		`time="x" level=warning msg=short`: {slog.LevelWarn, "short", nil},
		`level=debug msg="a \"b\"\n" id="x y"`: {slog.LevelDebug, "a \"b\"\n",
			map[string]string{"id": "x y"}},
		`level=fatal msg=end`: {slog.LevelError, "end", nil},
		`level=panic msg=end`: {slog.LevelError, "end", nil},
		`level=error msg= error="rpc error: code = Unavailable" namespace=moby`: {slog.LevelError, "",
			map[string]string{"error": "rpc error: code = Unavailable", "namespace": "moby"}},
	} {
		got, ok := parseMessage(line)
		if !ok || got.level != want.level || got.text != want.text || !maps.Equal(got.fields, want.fields) {
			t.Errorf("%s: %+v, %v", line, got, ok)
		}
	}
	for _, line := range []string{
		"", "panic: runtime error", "goroutine 1 [running]:", "msg=x", "level=loud msg=x", `level=info msg="open`,
		`level=info msg=x rest`, `level=info msg="x"rest`, `level=info msg=a"b`, "=x", "a b=c level=info msg=x",
	} {
		if m, ok := parseMessage(line); ok {
			t.Errorf("%q: %+v", line, m)
		}
	}
}

// FuzzParseMessage checks that messages which logrus wrote are read without a change.
func FuzzParseMessage(f *testing.F) {
	f.Add("starting", "id", "a b")
	f.Add("\"\n\x00\xff", "k", "=")
	f.Add("", "x", "")
	f.Fuzz(func(t *testing.T, text, key, value string) {
		parseMessage(text) // whatever it is
		if key == "" || strings.ContainsFunc(key,
			func(r rune) bool { return r <= ' ' || r == '=' || r == '"' || r > '~' }) ||
			key == "time" || key == "level" || key == "msg" {
			return
		}
		var out bytes.Buffer
		log := logrus.New()
		log.SetOutput(&out)
		log.SetFormatter(&logrus.TextFormatter{DisableColors: true})
		log.WithField(key, value).Error(text)
		m, ok := parseMessage(strings.TrimSuffix(out.String(), "\n"))
		if !ok || m.level != slog.LevelError || m.text != text || m.fields[key] != value {
			t.Fatalf("%s: %+v, %v", &out, m, ok)
		}
	})
}
