package journal

import (
	"bytes"
	"errors"
	"os"
	"testing"

	"github.com/containerd/errdefs"
)

// A journal gets the format of who creates it, keeps it with who reads newer ones, and is given a newer one together
// with
// what is written in that transaction.
func TestFormat(t *testing.T) {
	path := newPath(t)
	openAt := func(format uint32) *Journal {
		t.Helper()
		j, err := Open(path, Options{Format: format, Reserve: -1})
		if err != nil {
			t.Fatal(err)
		}
		return j
	}
	closing := func(j *Journal, want uint32) {
		t.Helper()
		if got := j.Format(); got != want {
			t.Errorf("format %d, not %d", got, want)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
	closing(openAt(0), 1)
	j := openAt(3)
	for _, wrong := range []uint32{0, 4} {
		if err := j.Commit(t.Context(),
			func(tx *Tx) error { tx.SetFormat(wrong); return nil }); !errdefs.IsInvalidArgument(err) {
			t.Errorf("format %d: %v", wrong, err)
		}
	}
	failed := os.ErrInvalid
	if err := j.Commit(t.Context(), func(tx *Tx) error { tx.SetFormat(2); return failed }); !errors.Is(err, failed) {
		t.Error(err)
	}
	closing(j, 1)
	j = openAt(3)
	if err := j.Commit(t.Context(),
		func(tx *Tx) error { tx.SetFormat(2); tx.Put("k", "a", nil); return nil }); err != nil {
		t.Fatal(err)
	}
	closing(j, 2)
	if _, err := Open(path, Options{}); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("as format 1: %v", err)
	}
	closing(openAt(2), 2)
}

func TestCopy(t *testing.T) {
	path := newPath(t)
	j, err := Open(path, Options{Format: 2, Reserve: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	err = j.Commit(t.Context(), func(tx *Tx) error {
		tx.Put("k", "a", []byte("v"))
		tx.Append(Event{Type: "t", ID: "i", Action: "did"})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	if err := j.Copy(&buf); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".copy", buf.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Open(path+".copy", Options{Format: 2, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if c.ID() != j.ID() || c.Newest() != 1 || c.Format() != 2 || records(t, c, "k")["a"] != "v" {
		t.Errorf("the copy has %v, %d events, format %d", records(t, c, "k"), c.Newest(), c.Format())
	}
	if err := j.Copy(refusing{}); err == nil {
		t.Error("a writer's error is lost")
	}
}

type refusing struct{}

func (refusing) Write([]byte) (int, error) { return 0, os.ErrInvalid }
