package logfile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, name string) *os.File {
	t.Helper()
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func content(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestCut(t *testing.T) {
	name := filepath.Join(t.TempDir(), "log")
	log, other := open(t, name), open(t, name)
	for i, want := range []struct{ write, log, old string }{
		{"short", "short", ""},
		{strings.Repeat("x", 10), "", "short" + strings.Repeat("x", 10)},
		{"new", "new", "short" + strings.Repeat("x", 10)},
		{strings.Repeat("y", 20), "", "new" + strings.Repeat("y", 20)},
	} {
		if _, err := other.WriteString(want.write); err != nil { // which goes on at the new end
			t.Fatal(err)
		}
		if err := cut(log, 10); err != nil {
			t.Fatal(err)
		}
		if got := content(t, name); got != want.log {
			t.Errorf("%d: the log is %q, want %q", i, got, want.log)
		}
		if old, _ := os.ReadFile(name + ".1"); string(old) != want.old {
			t.Errorf("%d: the older log is %q, want %q", i, old, want.old)
		}
	}
}

// TestCutWhereNothingCanBeKept checks that the log is made empty nevertheless.
func TestCutWhereNothingCanBeKept(t *testing.T) {
	name := filepath.Join(t.TempDir(), "log")
	log := open(t, name)
	if err := os.Mkdir(name+".1", 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := log.WriteString("too long"); err != nil {
		t.Fatal(err)
	}
	if err := cut(log, 1); err == nil {
		t.Error("nobody was told")
	}
	if got := content(t, name); got != "" {
		t.Errorf("the log is %q", got)
	}
}

func TestBound(t *testing.T) {
	name := filepath.Join(t.TempDir(), "log")
	log := open(t, name)
	stop := Bound(log, 3, time.Millisecond, func(err error) { t.Error(err) })
	if _, err := log.WriteString("long"); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); content(t, name) != ""; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the log is not cut")
		}
	}
	stop()
	if got := content(t, name+".1"); got != "long" {
		t.Errorf("the older log is %q", got)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if err := cut(w, -1); err != nil {
		t.Errorf("a pipe: %v", err)
	}
}
