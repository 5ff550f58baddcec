package remote

import (
	"testing"
	"time"
)

// TestCopiesOutput has daemons of several kinds serve at one address, one after the other.
func TestCopiesOutput(t *testing.T) {
	d, server := (&hostile{hang: true, revision: runtimedRevision}).serve(t)
	is := func(copies bool, want string) {
		t.Helper()
		if d.CopiesOutput() != copies {
			t.Errorf("CopiesOutput is %v", !copies)
		}
		if name, _, err := d.Version(t.Context()); err != nil || name != want {
			t.Errorf("Version: %q, %v", name, err)
		}
	}
	is(false, "runtimed")
	for _, next := range []struct {
		revision, name string
		copies         bool
	}{
		{"3d14a6c3d8a9f2f4", "containerd", true}, {runtimedRevision, "runtimed", false}, {"", "containerd", true},
	} {
		server.Stop()
		server = (&hostile{hang: true, revision: next.revision}).listen(t, d.options.Address)
		for deadline := time.Now().Add(time.Minute); ; {
			sub, err := d.Subscribe(t.Context())
			if err == nil {
				t.Cleanup(func() { _ = sub.Close() })
				break
			}
			if time.Now().After(deadline) {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Millisecond)
		}
		is(next.copies, next.name)
	}
}
