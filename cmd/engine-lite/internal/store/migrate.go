package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/containerd/errdefs"
	log "github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/journal"
)

// Format is the format of the journals that this release writes: their kinds of record and what those mean together.
// It rises where the release before would go wrong without knowing it; that one refuses the journal then. The form of
// single records has a number of its own: see [Kind.Schema].
//
//	1  the first release's
//	2  kinds renamed: see [Kind.Formerly]
const Format = 2

// CopySuffix ends the name of the copy that Open leaves of a journal before it migrates it. A migration replaces the
// copy of the one before. To go back to the release before, put the copy in the journal's place.
const CopySuffix = ".before-migration"

// Open returns the store of a journal, after it has brought the journal to the form of this release. What it changes
// for that is one commit, before which it leaves a copy of the journal beside it. Only records of these kinds can be
// written. The store owns the journal, unless Open fails: Close closes it.
//
// Records that cannot be read, and those of a newer release, stay as they are.
//
// Errors are those of journal.Commit and of the file system: ResourceExhausted where the disk has no room for the copy.
// The journal is as it was then.
func Open(ctx context.Context, j Journal, path string, kinds ...Registered) (*Store, error) {
	s := New(j, kinds...)
	m := migration{store: s, kinds: kinds, path: path, files: osFiles{}}
	if err := m.run(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// migration brings a journal to the form of this release. A kill at any step leaves a journal that opens: the copy gets
// its name when it is whole and on the disk, and the rest is one commit.
type migration struct {
	store *Store
	kinds []Registered
	path  string
	files files
}

func (m *migration) run(ctx context.Context) error {
	from := m.store.Format()
	older, err := m.older()
	if err != nil {
		return fmt.Errorf("look for older records in journal %s: %w", m.path, err)
	}
	if from == Format && older == 0 {
		return nil
	}
	if err := m.copy(); err != nil {
		return fmt.Errorf("cannot copy journal %s before its migration, so it is not migrated: %w", m.path, classify(err))
	}
	if err := m.store.Update(ctx, m.migrate); err != nil {
		return fmt.Errorf("cannot migrate journal %s: %w", m.path, err)
	}
	log.WithField("copy", m.path+CopySuffix).Infof(
		"migrated the journal from format %d to %d, and %d records to newer schemas; "+
			"the copy is the journal before the migration", from, Format, older)
	return nil
}

// older counts the records whose schema is older than that of this release.
func (m *migration) older() (n int, err error) {
	err = m.store.View(func(s *journal.Snapshot) error {
		for _, k := range m.kinds {
			if !k.schemas() {
				continue
			}
			err := s.ForEach(nameIn(k, m.store.Format()), func(_ string, raw []byte) error {
				if k.raise(raw) != nil {
					n++
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return n, err
}

// nameIn is what a kind is called in journals of a format.
func nameIn(k Registered, format uint32) string {
	if k.formerly() != "" && format < 2 {
		return k.formerly()
	}
	return k.name()
}

func (m *migration) migrate(tx *Tx) error {
	for _, k := range m.kinds {
		was := nameIn(k, m.store.Format())
		if was == k.name() && !k.schemas() {
			continue
		}
		err := tx.ForEach(was, func(key string, raw []byte) error {
			raised := k.raise(raw)
			switch {
			case was != k.name():
				tx.tx.Delete(was, key)
				if raised == nil {
					raised = raw
				}
			case raised == nil:
				return nil
			}
			tx.tx.Put(k.name(), key, raised)
			return nil
		})
		if err != nil {
			return err
		}
	}
	tx.tx.SetFormat(Format)
	return nil
}

// copy leaves a copy of the journal beside it, in place of one that an earlier migration has left.
func (m *migration) copy() error {
	draft := m.path + CopySuffix + ".new"
	err := m.write(draft)
	if err == nil {
		err = m.files.rename(draft, m.path+CopySuffix)
	}
	if err != nil {
		return errors.Join(err, m.files.remove(draft))
	}
	return m.files.syncDir(filepath.Dir(m.path))
}

func (m *migration) write(path string) (err error) {
	f, err := m.files.create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := &copyWriter{Writer: f}
	if err := m.store.Copy(w); err != nil {
		return errors.Join(err, w.err)
	}
	return f.Sync()
}

// copyWriter keeps the error of the file that it writes to: the journal passes on its text only.
type copyWriter struct {
	io.Writer
	err error
}

func (w *copyWriter) Write(p []byte) (n int, err error) {
	n, w.err = w.Writer.Write(p)
	return n, w.err
}

// classify gives the error of a full disk its class.
func classify(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fmt.Errorf("%w: %w", err, errdefs.ErrResourceExhausted)
	}
	return err
}

// files are the calls of the file system that a migration makes.
type files interface {
	// create makes a file that only its owner reads, or empties one that an earlier try has left.
	create(path string) (file, error)
	rename(from, to string) error
	remove(path string) error
	syncDir(dir string) error
}

type file interface {
	io.WriteCloser
	Sync() error
}

type osFiles struct{}

func (osFiles) create(path string) (file, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
}

func (osFiles) rename(from, to string) error { return os.Rename(from, to) }

func (osFiles) remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func (osFiles) syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
