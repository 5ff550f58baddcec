package store

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/errdefs"
	log "github.com/sirupsen/logrus"

	"github.com/engine-lite/engine-lite/journal"
)

func TestMain(m *testing.M) {
	log.SetOutput(io.Discard)
	os.Exit(m.Run())
}

// fault happens at one step of a migration: the process is killed, or the file system refuses it.
type fault struct {
	at, steps int
	refusal   error // nil for a kill
}

type killed struct{}

// step counts a step and lets half of it happen, where it has halves, if it is the one of the fault.
func (f *fault) step(half func()) error {
	f.steps++
	if f.steps != f.at {
		return nil
	}
	if half != nil {
		half()
	}
	if f.refusal == nil {
		panic(killed{})
	}
	return f.refusal
}

type faultyFiles struct {
	osFiles
	*fault
}

func (f faultyFiles) create(path string) (file, error) {
	if err := f.step(nil); err != nil {
		return nil, err
	}
	made, err := f.osFiles.create(path)
	if err != nil {
		return nil, err
	}
	return faultyFile{made, f.fault}, nil
}

func (f faultyFiles) rename(from, to string) error {
	if err := f.step(nil); err != nil {
		return err
	}
	return f.osFiles.rename(from, to)
}

func (f faultyFiles) syncDir(dir string) error {
	if err := f.step(nil); err != nil {
		return err
	}
	return f.osFiles.syncDir(dir)
}

type faultyFile struct {
	file
	*fault
}

func (f faultyFile) Write(p []byte) (int, error) {
	if err := f.step(func() { _, _ = f.file.Write(p[:len(p)/2]) }); err != nil {
		return len(p) / 2, err
	}
	return f.file.Write(p)
}

func (f faultyFile) Sync() error {
	if err := f.step(nil); err != nil {
		return err
	}
	return f.file.Sync()
}

// faultyJournal is killed before its commit and after it. What happens within one is the journal's own to test.
type faultyJournal struct {
	Journal
	*fault
}

func (j faultyJournal) Commit(ctx context.Context, fn func(*journal.Tx) error) error {
	if err := j.step(nil); err != nil {
		return err
	}
	if err := j.Journal.Commit(ctx, fn); err != nil {
		return err
	}
	if j.refusal == nil {
		return j.step(nil)
	}
	return nil
}

// migrateWith migrates a journal with a fault, and returns whether it was killed.
func migrateWith(t *testing.T, path string, f *fault, kinds ...Registered) (dead bool, err error) {
	t.Helper()
	j, err := journal.Open(path, journal.Options{Format: Format, Reserve: -1})
	must(t, err)
	defer j.Close() // as the kernel does
	defer func() {
		switch recover().(type) {
		case nil:
		case killed:
			dead = true
		default:
			t.Fatal("another panic")
		}
	}()
	m := migration{store: New(faultyJournal{j, f}, kinds...), kinds: kinds, path: path, files: faultyFiles{fault: f}}
	return false, m.run(t.Context())
}

// A migration that is killed at any step, or refused one, leaves a journal that is either as before or migrated, and
// the
// next one completes it. The copy is whole or not there.
func TestMigrationCutOff(t *testing.T) {
	for name, refusal := range map[string]error{"killed": nil, "refused": syscall.ENOSPC} {
		t.Run(name, func(t *testing.T) {
			path := old(t, oldThings)
			before := read(t, path, 1)
			pristine, err := os.ReadFile(path)
			must(t, err)
			kinds := []Registered{things(2), Text("name", "name")}
			complete := false
			for at := 1; !complete; at++ {
				must(t, os.WriteFile(path, pristine, 0o600))
				f := &fault{at: at, refusal: refusal}
				dead, err := migrateWith(t, path, f, kinds...)
				if complete = f.steps < at; complete == (dead || err != nil) || dead != (refusal == nil && !complete) {
					t.Fatalf("step %d of %d: killed %v, %v", at, f.steps, dead, err)
				}
				if err != nil && !errors.Is(err, refusal) || err != nil && at < f.steps &&
					!errdefs.IsResourceExhausted(err) {
					t.Errorf("step %d: %v", at, err)
				}
				got := read(t, path, Format)
				if migrated := got["format"] == "2"; !migrated && !reflect.DeepEqual(got, before) {
					t.Errorf("step %d: half migrated: %v", at, got)
				}
				checkCopy(t, path, before, got["format"] == "2")
				s := open(t, path, kinds...)
				if got := contents(t, s); got["format"] != "2" || got["thing/a"] == "" || got["oldthing/a"] != "" {
					t.Errorf("step %d: %v", at, got)
				}
				must(t, s.Close())
				checkCopy(t, path, before, true)
				must(t, os.Remove(path+CopySuffix))
				if at > 50 {
					t.Fatal("there is no end")
				}
			}
		})
	}
}

// checkCopy checks that a copy is whole, and there if it has to be, and that no draft is left behind a migration.
func checkCopy(t *testing.T, path string, want map[string]string, needed bool) {
	t.Helper()
	info, err := os.Stat(path + CopySuffix)
	if os.IsNotExist(err) && !needed {
		return
	}
	must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the copy has mode %v", info.Mode())
	}
	if got := read(t, path+CopySuffix, 1); !reflect.DeepEqual(got, want) {
		t.Errorf("the copy has %v", got)
	}
	if drafts, _ := filepath.Glob(path + CopySuffix + ".*"); needed && len(drafts) > 0 {
		t.Errorf("%q are left", drafts)
	}
}

// A journal that the release before has taken again meanwhile is migrated again, and its copy replaces the last one.
func TestMigrateAfterAStepBack(t *testing.T) {
	path := old(t, oldThings)
	kinds := []Registered{things(2), Text("name", "name")}
	must(t, open(t, path, kinds...).Close())
	must(t, os.Rename(path+CopySuffix, path))
	j, err := journal.Open(path, journal.Options{Reserve: -1})
	must(t, err)
	must(t, j.Commit(t.Context(), func(tx *journal.Tx) error {
		tx.Put("oldthing", "e", []byte(`{"Title":"e","Took":1}`))
		return nil
	}))
	must(t, j.Close())
	s := open(t, path, kinds...)
	defer s.Close()
	if got := contents(t, s); got["thing/e"] == "" || len(got) != 10 {
		t.Errorf("%v", got)
	}
	if got := read(t, path+CopySuffix, 1); got["oldthing/e"] == "" {
		t.Errorf("the copy has %v", got)
	}
}

// A release that knows a further schema brings the records to it, in a journal whose format stays.
func TestMigrateSchemaAlone(t *testing.T) {
	path := old(t, map[string]string{"a": `{"Title":"a","Took":5}`})
	must(t, open(t, path, things(1)).Close())
	s := open(t, path, things(2))
	defer s.Close()
	if got := contents(t, s)["thing/a"]; !strings.Contains(got, `"Schema":2`) || !strings.Contains(got, "5000000000") {
		t.Errorf("%s", got)
	}
	if got := read(t, path+CopySuffix, Format)["thing/a"]; !strings.Contains(got, `"Schema":1`) {
		t.Errorf("the copy has %s", got)
	}
}

// What a new journal is made with needs no migration and no copy.
func TestNewJournalIsNotMigrated(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	s := open(t, path, things(2))
	defer s.Close()
	if files, _ := filepath.Glob(path + "*"); len(files) != 1 || s.Format() != Format {
		t.Errorf("%q, format %d", files, s.Format())
	}
}
